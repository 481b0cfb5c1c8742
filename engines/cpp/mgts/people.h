// Who was found in a picture. Twin of mgts_trt/runtime/people.py.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "letterbox.h"

namespace mgts {

struct Person {
    Box box;                       // pixels of the picture
    float score;                   // 0..1
    std::vector<float> embedding;  // of length 1: the dot product of two is their cosine
    int instance;                  // in the instance map; 0 where the tight box is the mask
    Box canvas_box;
    std::array<int, 4> crop;       // canvas pixels that the patches were cut from
};

struct People {
    std::vector<Person> persons;  // best first
    Letterbox letterbox;
    bool has_masks;                           // not in the modes `none` and `joint`, which look at no mask
    std::vector<std::uint16_t> instance_map;  // [Hc, Wc]; empty but in mode `net`

    // The pixels of the picture that re-ID saw as person `i`, 0 or 1, [H, W]; empty without masks.
    std::vector<std::uint8_t> mask(std::size_t i) const {
        if (!has_masks) return {};
        Person const& person = persons.at(i);
        bool const by_instance = !instance_map.empty() && person.instance > 0;
        std::array<int, 4> const region = by_instance ? person.crop : letterbox.whole_pixels(person.canvas_box);
        Letterbox const& at = letterbox;
        std::vector<std::uint8_t> made(std::size_t(at.image_height) * std::size_t(at.image_width));
        for (int y = 0; y < at.image_height; ++y) {
            // A pixel of the picture takes the value of the canvas pixel its centre falls into.
            int const row = int((y + 0.5) * at.scale_y());
            if (row < region[1] || row >= region[3]) continue;
            for (int x = 0; x < at.image_width; ++x) {
                int const column = int((x + 0.5) * at.scale_x());
                if (column < region[0] || column >= region[2]) continue;
                std::size_t const place = std::size_t(row) * std::size_t(at.canvas_width) + std::size_t(column);
                bool const held = !by_instance || instance_map[place] == person.instance;
                made[std::size_t(y) * std::size_t(at.image_width) + std::size_t(x)] = held;
            }
        }
        return made;
    }
};

}  // namespace mgts
