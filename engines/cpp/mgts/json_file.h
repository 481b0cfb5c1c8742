// The JSON files of a bundle: each carries a SHA-256 of all else that it says. Twin of
// mgts_trt/machine/data_files.py.
#pragma once

#include <openssl/evp.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "error.h"

namespace mgts {

using nlohmann::json;

// In hexadecimal.
inline std::string sha256(std::string const& data) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    if (EVP_Digest(data.data(), data.size(), digest, &length, EVP_sha256(), nullptr) != 1) {
        throw Error("OpenSSL computes no SHA-256 here. Install one that does.");
    }
    std::string text;
    for (unsigned i = 0; i < length; ++i) {
        text += "0123456789abcdef"[digest[i] >> 4];
        text += "0123456789abcdef"[digest[i] & 15];
    }
    return text;
}

// A number as Python writes it: the fewest digits that give it back, 1e16 and more and less than 1e-4 with an exponent.
inline std::string python_number(double value) {
    char buffer[64];
    auto const end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
    std::string const text(buffer, end);
    std::size_t const e = text.find('e');
    int const exponent = std::atoi(text.c_str() + e + 1);
    if (exponent < -4 || exponent >= 16) return text;
    std::string const sign = text[0] == '-' ? "-" : "";
    std::string digits;
    for (char c : text.substr(0, e)) {
        if (c >= '0' && c <= '9') digits += c;
    }
    if (exponent < 0) return sign + "0." + std::string(std::size_t(-exponent - 1), '0') + digits;
    std::size_t const whole = std::size_t(exponent) + 1;
    if (digits.size() <= whole) return sign + digits + std::string(whole - digits.size(), '0') + ".0";
    return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

// The form whose bytes are digested: keys in order, no spaces, ASCII.
inline std::string canonical(json const& value) {
    if (value.is_number_float()) return python_number(value.get<double>());
    if (!value.is_structured()) return value.dump(-1, ' ', true);
    std::string text;
    for (auto const& [key, item] : value.items()) {
        if (!text.empty()) text += ',';
        if (value.is_object()) text += json(key).dump(-1, ' ', true) + ':';
        text += canonical(item);
    }
    return value.is_object() ? '{' + text + '}' : '[' + text + ']';
}

inline std::string read_file(std::filesystem::path const& path, std::string const& advice) {
    std::error_code code;
    if (!std::filesystem::is_regular_file(path, code)) {
        bool const there = std::filesystem::exists(path, code);
        throw Error(path.string() + (there ? " is no file. " : " is not there. ") + advice);
    }
    std::ifstream file(path, std::ios::binary);
    std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    if (!file) throw Error("Cannot read " + path.string() + ". Make it readable, or: " + advice);
    return text;
}

// What a signed file says, once format and digest are those expected.
inline json read_record(std::filesystem::path const& path, int format, std::string const& advice) {
    std::string const text = read_file(path, advice);
    json data = json::parse(text, nullptr, false);
    if (!data.is_object()) throw Error(path.string() + " is truncated or altered: it is no JSON object. " + advice);
    json const found = data.value("format", json());
    if (found.is_number_integer() && found != format) {
        throw Error(path.string() + " has format " + found.dump() + "; this program reads " + std::to_string(format) +
                    ". Take the program that belongs to the bundle, or: " + advice);
    }
    json const digest = data.value("sha256", json());
    data.erase("sha256");
    if (!found.is_number_integer() || digest != sha256(canonical(data))) {
        throw Error(path.string() + " is altered: its checksum does not match. " + advice);
    }
    return data;
}

}  // namespace mgts
