// Who is in these pictures: a bundle's plans and pictures in, one line of JSON a picture out. See README.md.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "mgts/joint_search.h"
#include "mgts/person_search.h"

#ifndef MGTS_KERNELS
#define MGTS_KERNELS "kernels"
#endif

namespace {

constexpr char const* USAGE =
    "usage: person_search_example BUNDLE PICTURE ... [--mode net|box|none|joint] [--precision P]\n"
    "           [--plugins LIBRARY] [--kernels FOLDER] [--max-people N] [--box x1,y1,x2,y2 ...] [--masks FOLDER]\n"
    "\n"
    "BUNDLE has manifest.json and plans/. A line of JSON a picture goes to standard output, what fails to standard\n"
    "error. With --box nothing is detected: the given people are described. --masks writes PICTURE.N.pgm.\n"
    "Ends with 2 where nothing can be run, with 1 where a picture could not be searched.\n";

struct Command {
    mgts::Options options;
    std::vector<std::string> pictures;
    std::vector<mgts::Box> boxes;
    std::string masks;
};

mgts::Box box_of(std::string const& text) {
    mgts::Box box;
    char rest;
    if (std::sscanf(text.c_str(), "%f,%f,%f,%f%c", &box[0], &box[1], &box[2], &box[3], &rest) != 4) {
        throw mgts::Error("--box " + text + " is no box; write x1,y1,x2,y2 in pixels of the picture.");
    }
    return box;
}

Command read(std::vector<std::string> const& words) {
    Command command;
    command.options.kernels = MGTS_KERNELS;
    std::vector<std::string> named;
    for (std::size_t i = 0; i < words.size(); ++i) {
        std::string const& word = words[i];
        if (word.compare(0, 2, "--") != 0) {
            named.push_back(word);
            continue;
        }
        if (i + 1 == words.size()) throw mgts::Error(word + " has no value.\n" + USAGE);
        std::string const& value = words[++i];
        mgts::Options& options = command.options;
        if (word == "--mode") options.mode = value;
        else if (word == "--precision") options.precision = value;
        else if (word == "--plugins") options.plugins = value;
        else if (word == "--kernels") options.kernels = value;
        else if (word == "--max-people") options.max_people = std::atoi(value.c_str());
        else if (word == "--box") command.boxes.push_back(box_of(value));
        else if (word == "--masks") command.masks = value;
        else throw mgts::Error("There is no option " + word + ".\n" + USAGE);
    }
    if (named.size() < 2) throw mgts::Error(std::string("A bundle and a picture are needed.\n") + USAGE);
    std::string const mode = " " + command.options.mode + " ";
    if (std::string(" net box none joint ").find(mode) == std::string::npos) {
        throw mgts::Error("There is no mode " + command.options.mode + "; the modes are net, box, none and joint.");
    }
    if (command.options.max_people < 1) throw mgts::Error("--max-people is a number of at least 1.");
    command.options.bundle = named[0];
    command.pictures.assign(named.begin() + 1, named.end());
    return command;
}

// As `People.to_dict` of Python has it.
mgts::json told(mgts::People const& people) {
    mgts::json rows = mgts::json::array();
    for (mgts::Person const& person : people.persons) {
        mgts::json const mask = people.has_masks ? mgts::json(person.instance ? "instance" : "box") : mgts::json();
        rows.push_back({{"box", person.box}, {"score", person.score}, {"mask", mask}, {"embedding", person.embedding}});
    }
    return rows;
}

void write_masks(mgts::People const& people, std::filesystem::path const& folder, std::filesystem::path const& name) {
    std::error_code failure;
    std::filesystem::create_directories(folder, failure);
    if (failure) throw mgts::Error("Cannot make the folder " + folder.string() + ": " + failure.message() + ".");
    for (std::size_t i = 0; people.has_masks && i < people.persons.size(); ++i) {
        std::vector<std::uint8_t> mask = people.mask(i);
        for (std::uint8_t& pixel : mask) pixel = std::uint8_t(pixel * 255);
        std::filesystem::path const path = folder / (name.stem().string() + "." + std::to_string(i) + ".pgm");
        std::ofstream file(path, std::ios::binary);
        file << "P5 " << people.letterbox.image_width << ' ' << people.letterbox.image_height << " 255\n";
        file.write(reinterpret_cast<char const*>(mask.data()), std::streamsize(mask.size()));
        if (!file.flush()) throw mgts::Error("Cannot write " + path.string() + ".");
    }
}

// With a `PersonSearch`, or a `JointSearch`.
template <class Search>
int run(Command const& command) {
    Search search(command.options);
    int failed = 0;
    for (std::string const& name : command.pictures) {
        try {
            mgts::Picture const picture = mgts::read_picture(name);
            auto const start = std::chrono::steady_clock::now();
            mgts::People const people = command.boxes.empty() ? search(picture.view())
                                                              : search.embed(picture.view(), command.boxes);
            std::chrono::duration<double, std::milli> const spent = std::chrono::steady_clock::now() - start;
            if (!command.masks.empty()) write_masks(people, command.masks, name);
            mgts::json const line = {{"picture", name},
                                     {"image", {{"height", picture.height}, {"width", picture.width}}},
                                     {"people", told(people)},
                                     {"timings_ms", {{"total", spent.count()}}}};
            std::cout << line.dump(-1, ' ', false, mgts::json::error_handler_t::replace) << std::endl;
        } catch (mgts::Error const& error) {
            std::cerr << error.what() << std::endl;
            failed = 1;
        }
    }
    return failed;
}

}  // namespace

int main(int count, char** words) {
    try {
        Command const command = read({words + 1, words + count});
        return command.options.mode == "joint" ? run<mgts::JointSearch>(command) : run<mgts::PersonSearch>(command);
    } catch (std::exception const& error) {
        std::cerr << error.what() << std::endl;
        return 2;
    }
}
