// Who is in a picture: the chain of engines and kernels on two streams. Twin of mgts_trt/runtime/gpu/slot.py, for one
// picture at a time.
//
//     main   upload - letterbox -+- detector - select people - counts to the host -+- separate - patches - re-ID
//     side                       +- mask net - paint instances --------------------+- map to the host
//
// Nothing comes to the host between upload and result but how many people there are.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "canvas.h"
#include "device.h"
#include "engine.h"
#include "kernels.h"
#include "launches.h"
#include "manifest.h"
#include "options.h"
#include "people.h"

namespace mgts {

// One thread at a time. Throws `Error` for what a user can act on; a picture that fails costs itself.
class PersonSearch {
public:
    explicit PersonSearch(Options const& options)
        : mode_(known_mode(options)),
          manifest_(Manifest::read(options.bundle)),
          kernels_(options.kernels, device_.capability()),
          runtime_(options.plugins),
          detector_(open(options, "detector", 1)),
          reid_(open(options, mode_ == "none" ? "idnet" : "mgts", std::max(options.max_people, 1))),
          canvas_(manifest_, kernels_),
          places_(std::size_t(detector_->plan().outputs.at("boxes").shape.at(1))) {
        std::size_t const pixels = std::size_t(manifest_.canvas_height) * std::size_t(manifest_.canvas_width);
        detector_->bind("image", canvas_.memory());
        if (mode_ == "net") {
            masknet_ = open(options, "masknet", 1);
            masknet_->bind("image", canvas_.memory());
            auto const& shape = masknet_->plan().outputs.at("masks").shape;
            instances_ = int(shape.at(1)), mask_size_ = int(shape.at(2));
            if (instances_ > MAX_INSTANCES) {
                throw Error("The mask net has " + std::to_string(instances_) + " places for instances, but the kernels "
                            "hold at most " + std::to_string(MAX_INSTANCES) + ". Export it with fewer proposals.");
            }
            map_ = DeviceMemory(pixels * sizeof(std::uint16_t));
            map_on_host_ = Pinned<std::uint16_t>(pixels);
        }
        auto const& inputs = reid_->plan().inputs;
        half_ = inputs.at("original").dtype == "float16";
        std::size_t const patch = std::size_t(3 * manifest_.patch_height * manifest_.patch_width);
        std::size_t const bytes = std::size_t(reid_->most()) * patch * Engine::type_bytes(inputs.at("original").dtype);
        for (auto const& [name, spec] : inputs) {
            patches_[name] = DeviceMemory(bytes);
            reid_->bind(name, patches_[name]);
        }
        count_ = DeviceMemory(2 * sizeof(int));
        boxes_ = DeviceMemory(places_ * 4 * sizeof(float));
        scores_ = DeviceMemory(places_ * sizeof(float));
        crops_ = DeviceMemory(places_ * 4 * sizeof(int));
        tights_ = DeviceMemory(places_ * 4 * sizeof(int));
        votes_ = DeviceMemory(places_ * sizeof(int));
        length_ = std::size_t(manifest_.embedding);
        count_on_host_ = Pinned<int>(2);
        boxes_on_host_ = Pinned<float>(places_ * 4);
        scores_on_host_ = Pinned<float>(places_);
        crops_on_host_ = Pinned<int>(places_ * 4);
        votes_on_host_ = Pinned<int>(places_);
        embeddings_on_host_ = Pinned<float>(places_ * length_);
        for (char const* source : {"select_people.cu", "paint_instances.cu", "person_patches.cu"}) {
            kernels_.load(source);
        }
    }

    PersonSearch(PersonSearch const&) = delete;
    PersonSearch& operator=(PersonSearch const&) = delete;
    ~PersonSearch() { device_.settle(); }

    // The people that the detector finds, best first.
    People operator()(PictureView const& picture) {
        Letterbox const at = load(picture);
        detector_->enqueue(main_);
        int const most = int(places_);
        kernels_.launch(select_launch(at, detector_->output("boxes").at(), detector_->output("scores").at(), most,
                                      manifest_.detection, most, boxes_.at(), scores_.at(), count_.at()),
                        main_);
        count_on_host_.download(count_, 2, main_);
        counted_.record(main_.get());
        separate(at, places_);
        boxes_on_host_.download(boxes_, places_ * 4, main_);
        scores_on_host_.download(scores_, places_, main_);
        counted_.synchronize();
        return describe(at, std::size_t(count_on_host_[0]));
    }

    // Given people, one a box (in pixels of the picture), in order, with score 1: nothing is detected. At most as many
    // as the detector has places.
    People embed(PictureView const& picture, std::vector<Box> const& boxes) {
        if (boxes.size() > places_) {
            throw Error(std::to_string(boxes.size()) + " boxes in one picture, but there is room for " +
                        std::to_string(places_) + ". Pass them in turns.");
        }
        Letterbox const at = load(picture);
        for (std::size_t i = 0; i < boxes.size(); ++i) {
            Box const box = Canvas::place(at, boxes[i]);
            std::copy(box.begin(), box.end(), boxes_on_host_.data() + 4 * i);
            scores_on_host_.data()[i] = 1;
        }
        count_on_host_.data()[0] = count_on_host_.data()[1] = int(boxes.size());
        boxes_on_host_.upload(boxes_, boxes.size() * 4, main_);
        count_on_host_.upload(count_, 2, main_);
        separate(at, boxes.size());
        return describe(at, boxes.size());
    }

private:
    static std::string known_mode(Options const& options) {
        for (char const* mode : {"net", "box", "none"}) {
            if (options.mode == mode) return mode;
        }
        throw Error("A PersonSearch has no mode '" + options.mode + "'; it has net, box and none. JointSearch is the mode "
                    "joint.");
    }

    std::unique_ptr<Engine> open(Options const& options, char const* model, int rows) {
        Plan plan = plan_for(options, manifest_, device_, model);
        return std::make_unique<Engine>(runtime_, std::move(plan), rows);
    }

    // Queues the picture's way onto the canvas.
    Letterbox load(PictureView const& picture) {
        device_.make_current();
        side_.synchronize();  // of a picture that failed
        main_.synchronize();
        Letterbox const at = canvas_.draw(picture, main_);
        drawn_.record(main_.get());
        return at;
    }

    Separation separation() const {
        return {count_.at(), masknet_ ? map_.at() : nullptr, crops_.at(), tights_.at(), votes_.at()};
    }

    // Queues the mask net beside, and behind it the expanded boxes of up to `most` people and their instances.
    void separate(Letterbox const& at, std::size_t most) {
        if (masknet_) {
            side_.wait(drawn_);
            masknet_->enqueue(side_);
            kernels_.launch(paint_launch(manifest_, masknet_->output("boxes").at(), masknet_->output("scores").at(),
                                         masknet_->output("masks").at(), instances_, mask_size_, map_.at()),
                            side_);
            painted_.record(side_.get());
            map_on_host_.download(map_, map_on_host_.size(), side_);
            copied_.record(side_.get());
            main_.wait(painted_);
        }
        if (most == 0) return;
        double const gamma = mode_ == "none" ? 1.0 : manifest_.gamma;
        kernels_.launch(separate_launch(at, boxes_.at(), int(most), gamma, instances_, separation()), main_);
        crops_on_host_.download(crops_, most * 4, main_);
        votes_on_host_.download(votes_, most, main_);
    }

    // Queues patches and re-ID of `people`, waits, and reads the results.
    People describe(Letterbox const& at, std::size_t people) {
        std::size_t const most = std::size_t(reid_->most());
        void const* const foreground = patches_.count("foreground") ? patches_.at("foreground").at() : nullptr;
        for (std::size_t first = 0; first < people; first += most) {
            std::size_t const batch = std::min(most, people - first);
            kernels_.launch(patches_launch(manifest_, canvas_.memory().at(), separation(), int(first), int(batch), half_,
                                           foreground, patches_.at("original").at()),
                            main_);
            // Powers of two: few sizes, for which TensorRT has been tuned.
            int rows = 1;
            while (rows < int(batch)) rows *= 2;
            reid_->set_rows(std::min(rows, int(most)));
            reid_->enqueue(main_);
            embeddings_on_host_.download(reid_->output("embedding"), batch * length_, main_, first * length_);
        }
        if (masknet_) main_.wait(copied_);
        main_.synchronize();
        People found = {{}, at, mode_ != "none", {}};
        if (masknet_) found.instance_map.assign(map_on_host_.data(), map_on_host_.data() + map_on_host_.size());
        for (std::size_t i = 0; i < people; ++i) {
            float const* const box = boxes_on_host_.data() + 4 * i;
            int const* const crop = crops_on_host_.data() + 4 * i;
            float const* const embedding = embeddings_on_host_.data() + i * length_;
            Box const on_canvas = {box[0], box[1], box[2], box[3]};
            found.persons.push_back({at.to_image(on_canvas), scores_on_host_[i], {embedding, embedding + length_},
                                     votes_on_host_[i], on_canvas, {crop[0], crop[1], crop[2], crop[3]}});
        }
        return found;
    }

    // In the order they are made; what runs on the device goes before it.
    std::string mode_;
    Manifest manifest_;
    Device device_;
    Kernels kernels_;
    Runtime runtime_;
    Stream main_, side_;
    Event drawn_, counted_, painted_, copied_;
    std::unique_ptr<Engine> detector_, masknet_, reid_;
    Canvas canvas_;
    std::size_t places_, length_ = 0;  // people of a picture; numbers a person
    int instances_ = 0, mask_size_ = 0;
    bool half_ = false;
    std::map<std::string, DeviceMemory> patches_;
    DeviceMemory map_, count_, boxes_, scores_, crops_, tights_, votes_;
    Pinned<std::uint16_t> map_on_host_;
    Pinned<int> count_on_host_, crops_on_host_, votes_on_host_;
    Pinned<float> boxes_on_host_, scores_on_host_, embeddings_on_host_;
};

}  // namespace mgts
