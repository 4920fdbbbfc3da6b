/* SPDX-License-Identifier: MIT */
#include "support.h"

#include "accuracy.h"
#include "format/open.h"
#include "sanitized.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const golden_names[] = {"bloom",
                                    "bloom_old",
                                    "cohere",
                                    "cohere_qk_norm",
                                    "falcon",
                                    "falcon_new",
                                    "falcon_new_norm",
                                    "falcon_rw",
                                    "gemma",
                                    "gemma2",
                                    "gemma3_text",
                                    "gemma3_text_new",
                                    "gpt2",
                                    "gpt2_old",
                                    "gpt_bigcode",
                                    "gpt_bigcode_mha",
                                    "gpt_neo",
                                    "gpt_neox",
                                    "gpt_neox_sequential",
                                    "gpt_oss",
                                    "gpt_oss_mxfp4",
                                    "gptj",
                                    "granite",
                                    "llama",
                                    "llama2.c",
                                    "llama2.c_tied",
                                    "llama_scaled",
                                    "llama_sharded",
                                    "mingpt",
                                    "mistral",
                                    "mixtral",
                                    "mpt",
                                    "mpt_learned",
                                    "nanogpt",
                                    "nanogpt_compiled",
                                    "olmo",
                                    "olmo2",
                                    "olmo_clip",
                                    "opt",
                                    "phi",
                                    "phi3",
                                    "progress_measures",
                                    "progress_measures_mlp",
                                    "qwen2",
                                    "qwen2_moe",
                                    "qwen2_moe_dense",
                                    "qwen2_window",
                                    "qwen3",
                                    "qwen3_moe",
                                    "smollm3",
                                    "stablelm",
                                    "stablelm_parallel",
                                    "starcoder2",
                                    "transformer_lens",
                                    "transformer_lens_bidirectional",
                                    "transformer_lens_mlp",
                                    "transformer_lens_none",
                                    "transformer_lens_parallel",
                                    "transformer_lens_rotary",
                                    "transformer_lens_shortformer",
                                    NULL};

const char *source_path(const char *relative)
{
    static char path[4096];
    const char *root = getenv("OTIMES_SOURCE");
    snprintf(path, sizeof path, "%s/%s", root ? root : ".", relative);
    return path;
}

const char *shared_path(const char *relative)
{
    static char path[4096];
    char below[512];
    snprintf(below, sizeof below, "../shared/weights/%s", relative);
    snprintf(path, sizeof path, "%s", source_path(below));
    return access(path, F_OK) == 0 ? path : NULL;
}

void assert_ok(int rc, const otimes_err *err)
{
    if (rc != OTIMES_OK) {
        fail_msg("error %d: %s", rc, err->msg);
    }
}

bool golden_left_out(int i)
{
#ifdef SANITIZED
    return i % 3 != 0;
#else
    (void)i;
    return false;
#endif
}

void golden_open(golden *g, const char *name, bool processed)
{
    golden_open_on(0, g, name, processed);
}

void golden_open_on(int threads, golden *g, const char *name, bool processed)
{
    char relative[256];
    otimes_err err = {0};
    otimes_model_settings settings;
    otimes_model_settings_default(&settings);
    settings.threads = threads;
    if (!processed) {
        settings.fold_ln = settings.center_writing_weights = 0;
        settings.center_unembed = settings.fold_value_biases = 0;
    }
    *g = (golden){.name = name};
    snprintf(relative, sizeof relative, "tests/golden/%s", name);
    assert_ok(otimes_model_open(&g->model, source_path(relative), &settings, &err), &err);
    snprintf(relative, sizeof relative, "tests/golden/%s/expected.safetensors", name);
    assert_ok(otimes_store_open(&g->expected, source_path(relative), &err), &err);
    accuracy_model(name, processed ? "processed" : "raw");
}

void golden_close(golden *g)
{
    accuracy_model(NULL, NULL);
    otimes_model_close(&g->model);
    otimes_store_close(&g->expected);
}

const double *golden_values(const golden *g, const char *name, int64_t *count)
{
    const otimes_entry *entry = otimes_store_find(&g->expected, name);
    if (!entry) {
        return NULL;
    }
    assert_int_equal(entry->dtype, OTIMES_DTYPE_F64);
    assert_true((uintptr_t)entry->data % sizeof(double) == 0);
    *count = entry->bytes / (int64_t)sizeof(double);
    return (const double *)(const void *)entry->data;
}

void assert_close(const char *what, const double *got, const double *expected, int64_t count,
                  double relative, double absolute)
{
    double largest = 0;
    for (int64_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs(expected[i]));
    }
    for (int64_t i = 0; i < count; i++) {
        if (isnan(expected[i]) ? !isnan(got[i])
                               : !(fabs(got[i] - expected[i]) <= relative * largest + absolute)) {
            fail_msg("%s[%lld]: expected %.17g, got %.17g (largest %.3g, allowed %.3g)", what,
                     (long long)i, expected[i], got[i], largest, relative * largest + absolute);
        }
    }
}

double *sink_values(const otimes_memory_sink *memory, const char *name, int64_t *count)
{
    const void *data = NULL;
    const otimes_array *array = otimes_memory_sink_array(memory, name, &data);
    if (!array) {
        return NULL;
    }
    *count = 1;
    for (int i = 0; i < array->ndim; i++) {
        *count *= array->axis[i]->length;
    }
    double *values = calloc((size_t)*count + 1, sizeof *values);
    for (int64_t i = 0; values && i < *count; i++) {
        switch (array->type) {
        case OTIMES_F32:
            values[i] = (double)((const float *)data)[i];
            break;
        case OTIMES_F64:
            values[i] = ((const double *)data)[i];
            break;
        case OTIMES_I32:
            values[i] = (double)((const int32_t *)data)[i];
            break;
        case OTIMES_I64:
            values[i] = (double)((const int64_t *)data)[i];
            break;
        case OTIMES_F16:
        case OTIMES_TEXT:
            fail_msg("%s: not an array of numbers that fit double", name);
        }
    }
    return values;
}

char temp_folder[64];

int make_folder(void **state)
{
    (void)state;
    strcpy(temp_folder, "/tmp/otimes-test-XXXXXX");
    return mkdtemp(temp_folder) ? 0 : -1;
}

const char *in_folder(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", temp_folder, name);
    return path;
}

int empty_folder(void **state)
{
    (void)state;
    DIR *dir = opendir(temp_folder);
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        if (entry->d_name[0] != '.') {
            remove(in_folder(entry->d_name));
        }
    }
    return dir ? closedir(dir) : -1;
}

int remove_folder(void **state)
{
    empty_folder(state);
    return rmdir(temp_folder);
}

void write_file(const char *name, const void *bytes, size_t length)
{
    /* A new file: one that is cut and written anew is put on the disk at once by ext4, and waited for. */
    unlink(in_folder(name));
    FILE *file = fopen(in_folder(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}
