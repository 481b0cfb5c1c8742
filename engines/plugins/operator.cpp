#include "operator.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

namespace mgts {
namespace {

// Number `i` of a field, whose bytes may lie at any address.
template <class T>
T at(PluginField const& field, int i) {
    T value;
    std::memcpy(&value, static_cast<unsigned char const*>(field.data) + sizeof(T) * std::size_t(i), sizeof value);
    return value;
}

}  // namespace

void Attribute::read(PluginFieldCollection const& given) const {
    std::string const called = std::string("The attribute ") + name;
    PluginField const* found = nullptr;
    for (int i = 0; i < given.nbFields; ++i) {
        if (given.fields[i].name && std::strcmp(given.fields[i].name, name) == 0) found = &given.fields[i];
    }
    if (!found || !found->data) throw std::invalid_argument(called + " is missing.");
    if (found->length != length) {
        throw std::invalid_argument(called + " has " + std::to_string(found->length) + " numbers instead of " +
                                    std::to_string(length) + ".");
    }
    for (int i = 0; i < length; ++i) {
        if (type == PluginFieldType::kINT32 && found->type == PluginFieldType::kINT32) {
            static_cast<int32_t*>(value)[i] = at<int32_t>(*found, i);
        } else if (type == PluginFieldType::kINT32 && found->type == PluginFieldType::kINT64) {
            int64_t const wide = at<int64_t>(*found, i);
            if (wide != int32_t(wide)) throw std::invalid_argument(called + " is out of bounds.");
            static_cast<int32_t*>(value)[i] = int32_t(wide);
        } else if (type == PluginFieldType::kFLOAT32 && found->type == PluginFieldType::kFLOAT32) {
            static_cast<float*>(value)[i] = at<float>(*found, i);
        } else if (type == PluginFieldType::kFLOAT32 && found->type == PluginFieldType::kFLOAT64) {
            static_cast<float*>(value)[i] = float(at<double>(*found, i));
        } else {
            throw std::invalid_argument(called + " is of another type than " +
                                        (type == PluginFieldType::kINT32 ? "int." : "float."));
        }
    }
}

void refuse(Operator const& which, char const* format, ...) {
    char text[256];
    va_list values;
    va_start(values, format);
    std::vsnprintf(text, sizeof text, format, values);
    va_end(values);
    throw std::invalid_argument(std::string(which.name()) + ": " + text);
}

void check_rank(Operator const& which, char const* tensor, Operand const& operand, int rank) {
    if (operand.dims.nbDims != rank) {
        refuse(which, "%s has %d axes instead of %d.", tensor, int(operand.dims.nbDims), rank);
    }
    for (int axis = 0; axis < rank; ++axis) {
        int64_t const size = operand.dims.d[axis];
        if (size < 1 || size > std::numeric_limits<int32_t>::max()) {
            refuse(which, "axis %d of %s has the size %lld.", axis, tensor, static_cast<long long>(size));
        }
    }
}

}  // namespace mgts
