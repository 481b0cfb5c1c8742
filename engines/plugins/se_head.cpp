#include "operators.h"

namespace mgts {
namespace {

enum Input { FOREGROUND, ORIGINAL, SQUEEZE, EXCITE, FC };

constexpr unsigned THREADS = 256;
constexpr int64_t PEOPLE = 4, CHUNK = 128;  // of se_head.cu

struct Grid {
    int64_t groups, chunks;
};

Grid grid_of(Operands const& inputs) {
    return {divide_up(inputs[FOREGROUND].size(0), PEOPLE), divide_up(2 * inputs[FOREGROUND].size(1), CHUNK)};
}

// Where each part of the scratch memory begins, and its end.
struct Scratch {
    std::size_t pooled, squeezed, products, counters, end;

    explicit Scratch(Operands const& inputs) {
        Grid const grid = grid_of(inputs);
        int64_t const rows = grid.groups * grid.chunks * PEOPLE;
        std::size_t next = 0;
        auto const place = [&next](int64_t numbers) {
            std::size_t const begin = next;
            next += std::size_t(divide_up(4 * numbers, 256) * 256);
            return begin;
        };
        pooled = place(int64_t(inputs[FOREGROUND].size(0)) * 2 * inputs[FOREGROUND].size(1));
        squeezed = place(rows * inputs[SQUEEZE].size(0));
        products = place(rows * inputs[FC].size(0));
        counters = place(grid.groups);
        end = next;
    }
};

}  // namespace

bool SeHead::takes(DataType const* types, int position) const {
    switch (position) {
        case FOREGROUND: return types[FOREGROUND] == DataType::kFLOAT || types[FOREGROUND] == DataType::kHALF;
        case ORIGINAL: return types[ORIGINAL] == types[FOREGROUND];
        default: return types[position] == DataType::kFLOAT;
    }
}

std::vector<IDimensionExpr const*> SeHead::output_shape(DimsExprs const* inputs, IExprBuilder&) const {
    return {inputs[FOREGROUND].d[0], inputs[FC].d[0]};
}

void SeHead::check_sizes(Operands const& inputs) const {
    char const* const names[] = {"foreground", "original", "squeeze", "excite", "fc"};
    for (int i = 0; i < this->inputs(); ++i) check_rank(*this, names[i], inputs[i], i <= ORIGINAL ? 4 : 2);
    for (int axis = 0; axis < 4; ++axis) {
        if (inputs[FOREGROUND].size(axis) != inputs[ORIGINAL].size(axis)) {
            refuse(*this, "the two maps have the sizes %d and %d on axis %d.", inputs[FOREGROUND].size(axis),
                   inputs[ORIGINAL].size(axis), axis);
        }
    }
    int const both = 2 * inputs[FOREGROUND].size(1), hidden = inputs[SQUEEZE].size(0);
    int const wanted[3][2] = {{hidden, both}, {both, hidden}, {inputs[FC].size(0), both}};
    for (int i = SQUEEZE; i <= FC; ++i) {
        int const *const shape = wanted[i - SQUEEZE], rows = inputs[i].size(0), columns = inputs[i].size(1);
        if (rows != shape[0] || columns != shape[1]) {
            refuse(*this, "%s is [%d, %d] instead of [%d, %d].", names[i], rows, columns, shape[0], shape[1]);
        }
    }
}

std::size_t SeHead::scratch_bytes(Operands const& inputs) const { return Scratch(inputs).end; }

std::vector<Launch> SeHead::launches(Operands const& inputs, Operand const& output, void* scratch) const {
    Grid const grid = grid_of(inputs);
    Scratch const places(inputs);
    auto const at = [scratch](std::size_t place) -> void const* {
        return reinterpret_cast<void const*>(reinterpret_cast<std::uintptr_t>(scratch) + place);
    };
    Operand const& map = inputs[FOREGROUND];
    int const people = map.size(0), channels = map.size(1), hidden = inputs[SQUEEZE].size(0);
    std::array<unsigned, 3> const blocks = {unsigned(grid.groups), unsigned(grid.chunks), 1}, block = {THREADS, 1, 1};
    bool const half = map.type == DataType::kHALF;
    return {
        {half ? "se_head_squeeze_f16" : "se_head_squeeze_f32", source(), blocks, block, 0,
         {map.data, inputs[ORIGINAL].data, people, channels, map.size(2) * map.size(3), inputs[SQUEEZE].data, hidden,
          at(places.pooled), at(places.squeezed), at(places.counters)}},
        {"se_head_embed", source(), blocks, block, 0,
         {at(places.pooled), at(places.squeezed), people, channels, hidden, inputs[EXCITE].data, inputs[FC].data,
          inputs[FC].size(0), at(places.products), at(places.counters), output.data}},
    };
}

}  // namespace mgts
