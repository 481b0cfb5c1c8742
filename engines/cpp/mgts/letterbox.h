// Where a picture lies on the canvas: scaled until it fits, at the top left. Twin of mgts_trt/stages/letterbox.py.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

namespace mgts {

using Box = std::array<float, 4>;  // x1, y1, x2, y2

struct Letterbox {
    int image_height, image_width, canvas_height, canvas_width;
    int content_height, content_width;  // of the picture on the canvas

    Letterbox(int height, int width, int canvas_height, int canvas_width)
        : image_height(height), image_width(width), canvas_height(canvas_height), canvas_width(canvas_width) {
        using Wide = std::int64_t;
        // In integers, so that every implementation gets the same size.
        if (Wide(canvas_height) * width <= Wide(canvas_width) * height) {
            content_height = canvas_height;
            content_width = int(std::max<Wide>(1, (Wide(2) * width * canvas_height + height) / (Wide(2) * height)));
        } else {
            content_height = int(std::max<Wide>(1, (Wide(2) * height * canvas_width + width) / (Wide(2) * width)));
            content_width = canvas_width;
        }
    }

    // Canvas pixels per pixel of the picture.
    double scale_x() const { return double(content_width) / image_width; }
    double scale_y() const { return double(content_height) / image_height; }

    Box to_image(Box const& box) const {
        return {float(box[0] / scale_x()), float(box[1] / scale_y()), float(box[2] / scale_x()),
                float(box[3] / scale_y())};
    }

    // Of a box in pixels of the picture, what lies on it.
    Box to_canvas(Box const& box) const {
        auto const on = [](double value, int size) { return float(std::clamp(value, 0.0, double(size))); };
        return {on(float(box[0] * scale_x()), content_width), on(float(box[1] * scale_y()), content_height),
                on(float(box[2] * scale_x()), content_width), on(float(box[3] * scale_y()), content_height)};
    }

    // The whole pixels of the picture that a canvas box touches, at least one.
    std::array<int, 4> whole_pixels(Box const& box) const {
        std::array<int, 4> made;
        for (int axis = 0; axis < 2; ++axis) {
            int const size = axis ? content_height : content_width;
            double const centre = (double(box[axis]) + box[axis + 2]) / 2;
            double const half = std::max(double(box[axis + 2]) - box[axis], 0.0) / 2;
            made[axis] = int(std::clamp(std::floor(centre - half), 0.0, size - 1.0));
            made[axis + 2] = int(std::clamp(std::ceil(centre + half), made[axis] + 1.0, double(size)));
        }
        return made;
    }
};

}  // namespace mgts
