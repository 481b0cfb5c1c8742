// Pictures as the pipeline takes them, and files of them: PPM always, the others where OpenCV is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#ifdef MGTS_OPENCV
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#endif

#include "json_file.h"

namespace mgts {

// Somebody's pixels on the host: RGB, 8 bits, rows `pitch` bytes apart. A camera's buffer is passed as it is.
struct PictureView {
    std::uint8_t const* rgb;
    int height, width;
    std::size_t pitch;
};

struct Picture {
    std::vector<std::uint8_t> rgb;  // [H, W, 3]
    int height, width;

    PictureView view() const { return {rgb.data(), height, width, 3 * std::size_t(width)}; }
};

// A binary PPM (P6) of 8 bits.
inline Picture read_ppm(std::string const& data, std::string const& name) {
    std::istringstream text(data);
    std::vector<int> numbers;
    std::string word;
    text >> word;
    bool good = word == "P6";
    while (good && numbers.size() < 3 && text >> std::ws) {
        int number = 0;
        if (text.peek() == '#') {
            std::getline(text, word);
        } else if (text >> number) {
            numbers.push_back(number);
        } else {
            good = false;
        }
    }
    good = good && numbers.size() == 3 && numbers[0] > 0 && numbers[1] > 0 && numbers[2] == 255;
    std::size_t const bytes = good ? 3 * std::size_t(numbers[0]) * std::size_t(numbers[1]) : 0;
    std::size_t const start = good ? std::size_t(text.tellg()) + 1 : 0;  // one space follows
    if (!good || data.size() < start + bytes) {
        throw Error(name + " is no whole PPM of 8 bits (P6). Convert it: `convert PHOTO photo.ppm`.");
    }
    auto const begin = data.begin() + std::ptrdiff_t(start);
    return {std::vector<std::uint8_t>(begin, begin + std::ptrdiff_t(bytes)), numbers[1], numbers[0]};
}

inline Picture read_picture(std::filesystem::path const& file) {
    std::string const data = read_file(file, "Name a picture.");
    if (data.compare(0, 2, "P6") == 0) return read_ppm(data, file.string());
#ifdef MGTS_OPENCV
    cv::Mat bgr = cv::imread(file.string(), cv::IMREAD_COLOR), rgb;  // upright, as EXIF says
    if (!bgr.empty()) {
        cv::cvtColor(bgr, rgb, cv::COLOR_BGR2RGB);
        return {std::vector<std::uint8_t>(rgb.data, rgb.data + rgb.total() * 3), rgb.rows, rgb.cols};
    }
    throw Error(file.string() + " is no picture that OpenCV reads.");
#else
    throw Error(file.string() + " is no PPM (P6), and this program was built without OpenCV. Convert it: "
                "`convert PHOTO photo.ppm`, or build with OpenCV.");
#endif
}

}  // namespace mgts
