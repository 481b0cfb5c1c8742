// What each kernel takes: one function a kernel. Twin of mgts_trt/runtime/gpu/kernels.py, which says what every pointer
// holds.
#pragma once

#include "../../plugins/launch.h"
#include "letterbox.h"
#include "manifest.h"

namespace mgts {

inline constexpr unsigned THREADS = 256, TILE_W = 32, TILE_H = 8;
inline constexpr int MAX_INSTANCES = 1023;  // rows that the mask net may have

inline std::array<unsigned, 3> tiles(int height, int width, int depth = 1) {
    return {unsigned(divide_up(width, TILE_W)), unsigned(divide_up(height, TILE_H)), unsigned(depth)};
}

// A picture, uint8 [H, W, 3] with rows `pitch` bytes apart, onto the canvas, uint8 [Hc, Wc, 3].
inline Launch letterbox_launch(Letterbox const& at, void const* image, int pitch, std::array<int, 3> const& pad,
                               void const* canvas) {
    return {"letterbox", "letterbox.cu", tiles(at.canvas_height, at.canvas_width), {TILE_W, TILE_H, 1}, 0,
            {image, pitch, at.image_height, at.image_width, at.content_height, at.content_width, pad[0], pad[1], pad[2],
             canvas, at.canvas_height, at.canvas_width}};
}

// The detector's rows that are people, boxes float32 [rows, 4] and scores float32 [rows], in `people`, float32
// [most, 4], `people_scores`, float32 [most], and their number in `count`, int32 [2].
inline Launch select_launch(Letterbox const& at, void const* boxes, void const* scores, int rows, float threshold,
                            int most, void const* people, void const* people_scores, void const* count) {
    return {"select_people", "select_people.cu", {1, 1, 1}, {THREADS, 1, 1}, 0,
            {boxes, scores, rows, threshold, at.content_height, at.content_width, most, people, people_scores, count}};
}

// The mask net's rows painted, with masks float32 [rows, size, size], onto `instance_map`, uint16 [Hc, Wc].
inline Launch paint_launch(Manifest const& manifest, void const* boxes, void const* scores, void const* masks, int rows,
                           int size, void const* instance_map) {
    return {"paint_instances", "paint_instances.cu", tiles(manifest.canvas_height, manifest.canvas_width),
            {TILE_W, TILE_H, 1}, 0,
            {boxes, scores, masks, rows, size, manifest.instance, manifest.mask, instance_map, manifest.canvas_height,
             manifest.canvas_width}};
}

// Where a person's patches come from, all on the device; `instance_map` is null but in mode `net`.
struct Separation {
    void const* count;         // int32 [1] or more
    void const* instance_map;  // uint16 [Hc, Wc]
    void const* crops;         // int32 [most, 4]
    void const* tights;        // int32 [most, 4]
    void const* instances;     // int32 [most]
};

// The expanded box of each of `people`, float32 [most, 4], and the majority vote in it; `rows` of the mask net.
inline Launch separate_launch(Letterbox const& at, void const* people, int most, double gamma, int rows,
                              Separation const& into) {
    return {"separate_people", "person_patches.cu", {unsigned(most), 1, 1}, {THREADS, 1, 1}, 0,
            {people, into.count, into.instance_map, at.canvas_width, at.content_height, at.content_width, gamma, rows,
             into.crops, into.tights, into.instances}};
}

// The patches of people `first` … `first + batch - 1`, [batch, 3, h, w] each, of float16 if `half`; `foreground` is
// null in mode `none`.
inline Launch patches_launch(Manifest const& manifest, void const* canvas, Separation const& of, int first, int batch,
                             bool half, void const* foreground, void const* original) {
    auto const &mean = manifest.mean, &std = manifest.std;
    return {half ? "person_patches_f16" : "person_patches_f32", "person_patches.cu",
            tiles(manifest.patch_height, manifest.patch_width, batch), {TILE_W, TILE_H, 1}, 0,
            {canvas, manifest.canvas_width, of.instance_map, of.count, first, of.crops, of.tights, of.instances,
             mean[0], mean[1], mean[2], std[0], std[1], std[2], foreground, original, manifest.patch_height,
             manifest.patch_width}};
}

}  // namespace mgts
