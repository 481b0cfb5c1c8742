// A picture's way onto the canvas that the networks see, on the device.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "device.h"
#include "kernels.h"
#include "launches.h"
#include "manifest.h"
#include "picture.h"

namespace mgts {

class Canvas {
public:
    Canvas(Manifest const& manifest, Kernels& kernels)
        : manifest_(manifest),
          kernels_(kernels),
          memory_(3 * std::size_t(manifest.canvas_height) * std::size_t(manifest.canvas_width)) {
        kernels_.load("letterbox.cu");
    }

    // uint8 [Hc, Wc, 3].
    DeviceMemory const& memory() const { return memory_; }

    // Queues the picture's upload and its drawing. What was queued on `stream` must be done: the host writes memory that
    // it reads.
    Letterbox draw(PictureView const& picture, Stream const& stream) {
        if (!picture.rgb || picture.height < 1 || picture.width < 1 || picture.pitch < 3 * std::size_t(picture.width)) {
            throw Error("A picture is RGB, 8 bits, of at least one pixel, with rows of at least 3 bytes a pixel; this is "
                        "one of " + std::to_string(picture.width) + "×" + std::to_string(picture.height) +
                        " pixels with rows of " + std::to_string(picture.pitch) + " bytes.");
        }
        std::size_t const row = 3 * std::size_t(picture.width), bytes = row * std::size_t(picture.height);
        if (bytes > staging_.size()) {
            staging_ = Pinned<std::uint8_t>(bytes);
            picture_ = DeviceMemory(bytes);
        }
        for (int y = 0; y < picture.height; ++y) {
            std::uint8_t const* const from = picture.rgb + std::size_t(y) * picture.pitch;
            std::copy(from, from + row, staging_.data() + std::size_t(y) * row);
        }
        staging_.upload(picture_, bytes, stream);
        Letterbox const at(picture.height, picture.width, manifest_.canvas_height, manifest_.canvas_width);
        kernels_.launch(letterbox_launch(at, picture_.at(), int(row), manifest_.pad, memory_.at()), stream);
        return at;
    }

    // A given box, which must hold a part of the picture, on the canvas.
    static Box place(Letterbox const& at, Box const& box) {
        Box const placed = at.to_canvas(box);
        bool finite = true;
        for (float side : box) finite = finite && std::isfinite(side);
        if (finite && placed[0] < placed[2] && placed[1] < placed[3]) return placed;
        std::vector<std::string> sides;
        for (float side : box) sides.push_back(python_number(side));
        throw Error("The box [" + join(sides) + "] holds no pixel of the " + std::to_string(at.image_width) + "×" +
                    std::to_string(at.image_height) + " picture. Boxes are x1, y1, x2, y2 in pixels of the picture.");
    }

private:
    Manifest const& manifest_;
    Kernels& kernels_;
    DeviceMemory memory_, picture_;
    Pinned<std::uint8_t> staging_;
};

}  // namespace mgts
