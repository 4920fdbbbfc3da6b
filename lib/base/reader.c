/* SPDX-License-Identifier: MIT */
#include <otimes/reader.h>

#include <string.h>

int64_t otimes_reader_find(const otimes_reader *reader, const char *name)
{
    const otimes_array *array;
    for (int64_t i = 0; (array = reader->ops->array(reader, i)) != NULL; i++) {
        if (strcmp(array->name, name) == 0) {
            return i;
        }
    }
    return -1;
}

static const otimes_axis *axis_of_arrays(const otimes_reader *reader, const char *name)
{
    const otimes_array *array;
    for (int64_t i = 0; (array = reader->ops->array(reader, i)) != NULL; i++) {
        for (int d = 0; d < array->ndim; d++) {
            if (strcmp(array->axis[d]->name, name) == 0) {
                return array->axis[d];
            }
        }
    }
    return NULL;
}

const otimes_axis *otimes_reader_axis(const otimes_reader *reader, const char *name)
{
    const otimes_axis *axis;
    if (!reader->ops->axis) {
        return axis_of_arrays(reader, name);
    }
    for (int64_t i = 0; (axis = reader->ops->axis(reader, i)) != NULL; i++) {
        if (strcmp(axis->name, name) == 0) {
            return axis;
        }
    }
    return NULL;
}

const otimes_attr *otimes_reader_attr(const otimes_reader *reader, const char *name)
{
    const otimes_attr *attr;
    for (int64_t i = 0; (attr = reader->ops->attribute(reader, i)) != NULL; i++) {
        if (strcmp(attr->name, name) == 0) {
            return attr;
        }
    }
    return NULL;
}
