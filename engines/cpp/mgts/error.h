// What a user can act on: a sentence that says what is wrong, what was expected and what to do.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

namespace mgts {

struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

inline std::string join(std::vector<std::string> const& words, char const* between = ", ") {
    std::string text;
    for (std::string const& word : words) text += (text.empty() ? "" : between) + word;
    return text;
}

}  // namespace mgts
