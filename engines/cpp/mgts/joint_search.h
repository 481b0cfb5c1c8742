// Who is in a picture, by the joint network: boxes, scores and embeddings at once. Twin of
// mgts_trt/runtime/gpu/joint_slot.py, for one picture at a time.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "canvas.h"
#include "device.h"
#include "engine.h"
#include "kernels.h"
#include "manifest.h"
#include "options.h"
#include "people.h"

namespace mgts {

// Like `PersonSearch`, in mode `joint`; `Options::mode` and `max_people` do not count.
class JointSearch {
public:
    explicit JointSearch(Options const& options)
        : manifest_(Manifest::read(options.bundle)),
          kernels_(options.kernels, device_.capability()),
          runtime_(options.plugins),
          network_(runtime_, plan_for(options, manifest_, device_, "joint"), 1),
          canvas_(manifest_, kernels_) {
        network_.bind("image", canvas_.memory());
        TensorSpecs const& inputs = network_.plan().inputs;
        auto const rois = inputs.find("rois");
        if (rois != inputs.end()) {
            given_ = std::size_t(rois->second.shape.at(1));
            rois_ = DeviceMemory(given_ * 4 * sizeof(float));
            rois_on_host_ = Pinned<float>(given_ * 4);
            network_.bind("rois", rois_);
        }
        TensorSpecs const& outputs = network_.plan().outputs;
        places_ = std::size_t(outputs.at("embeddings").shape.at(1));
        length_ = std::size_t(outputs.at("embeddings").shape.at(2));
        boxes_ = Pinned<float>(places_ * 4);
        scores_ = Pinned<float>(places_);
        embeddings_ = Pinned<float>(std::max(places_, given_) * length_);
    }
    JointSearch(JointSearch const&) = delete;
    JointSearch& operator=(JointSearch const&) = delete;
    ~JointSearch() { device_.settle(); }

    // The people that the network finds, best first.
    People operator()(PictureView const& picture) {
        Letterbox const at = load(picture);
        network_.enqueue(stream_);
        boxes_.download(network_.output("boxes"), places_ * 4, stream_);
        scores_.download(network_.output("scores"), places_, stream_);
        embeddings_.download(network_.output("embeddings"), places_ * length_, stream_);
        stream_.synchronize();
        People found = {{}, at, false, {}};
        for (std::size_t i = 0; i < places_; ++i) {
            Box const box = on_content(at, boxes_.data() + 4 * i);
            // Rows of score 0 are padding of the network's fixed number of places.
            bool const on_picture = box[2] - box[0] >= 1 && box[3] - box[1] >= 1;
            if (on_picture && scores_[i] >= manifest_.detection && scores_[i] > 0) add(found, box, scores_[i], i);
        }
        return found;
    }

    // Given people, one a box (in pixels of the picture), in order, with score 1: nothing is detected.
    People embed(PictureView const& picture, std::vector<Box> const& boxes) {
        if (given_ == 0) {
            throw Error("This bundle's joint network describes only people it finds itself. Take another mode, or a "
                        "bundle whose joint network has the input rois.");
        }
        Letterbox const at = load(picture);
        std::vector<Box> placed;
        for (Box const& box : boxes) placed.push_back(Canvas::place(at, box));
        People found = {{}, at, false, {}};
        for (std::size_t first = 0; first < placed.size(); first += given_) {
            std::size_t const count = std::min(given_, placed.size() - first);
            std::fill(rois_on_host_.data(), rois_on_host_.data() + rois_on_host_.size(), 0.0f);
            for (std::size_t i = 0; i < count; ++i) {
                std::copy(placed[first + i].begin(), placed[first + i].end(), rois_on_host_.data() + 4 * i);
            }
            rois_on_host_.upload(rois_, rois_on_host_.size(), stream_);
            network_.enqueue(stream_);
            embeddings_.download(network_.output("roi_embeddings"), count * length_, stream_);
            stream_.synchronize();
            for (std::size_t i = 0; i < count; ++i) add(found, placed[first + i], 1, i);
        }
        return found;
    }

private:
    Letterbox load(PictureView const& picture) {
        device_.make_current();
        stream_.synchronize();  // of a picture that failed
        return canvas_.draw(picture, stream_);
    }

    // A box of the network, cut to the picture.
    static Box on_content(Letterbox const& at, float const* box) {
        float const width = float(at.content_width), height = float(at.content_height);
        return {std::clamp(box[0], 0.0f, width), std::clamp(box[1], 0.0f, height), std::clamp(box[2], 0.0f, width),
                std::clamp(box[3], 0.0f, height)};
    }

    void add(People& to, Box const& box, float score, std::size_t row) const {
        float const* const embedding = embeddings_.data() + row * length_;
        to.persons.push_back({to.letterbox.to_image(box), score, {embedding, embedding + length_}, 0, box,
                              to.letterbox.whole_pixels(box)});
    }

    Manifest manifest_;
    Device device_;
    Kernels kernels_;
    Runtime runtime_;
    Stream stream_;
    Engine network_;
    Canvas canvas_;
    std::size_t places_ = 0, length_ = 0, given_ = 0;  // people; numbers of each; given boxes of one run
    DeviceMemory rois_;
    Pinned<float> rois_on_host_, boxes_, scores_, embeddings_;
};

}  // namespace mgts
