/* SPDX-License-Identifier: MIT
 *
 * For MemorySanitizer, which follows what was never written through code compiled for it alone. At the
 * borders to the libraries that are not: what they are given must be written, what they give back is,
 * and blocks of memory that they take count as written (poison_in_malloc=0, poison_in_free=0), while
 * the part by which one of ours grows does not. Linked with --wrap of each.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <jansson.h>
#include <openssl/evp.h>
#include <pcre2.h>
#include <sanitizer/allocator_interface.h>
#include <sanitizer/msan_interface.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <utf8proc.h>

void __real_free(void *block);
void __wrap_free(void *block);
void *__wrap_realloc(void *block, size_t size);

/* What takes the block next may be a library. */
void __wrap_free(void *block)
{
    if (block) {
        __msan_unpoison(block, __sanitizer_get_allocated_size(block));
    }
    __real_free(block);
}

void *__wrap_realloc(void *block, size_t size)
{
    const size_t before = block ? __sanitizer_get_allocated_size(block) : 0;
    void *longer = malloc(size);
    if (longer) {
        __msan_poison(longer, size);
    }
    if (longer && block) {
        memcpy(longer, block, before < size ? before : size);
        __wrap_free(block);
    }
    return longer;
}

/* The marks that our calls left where a library's will lie: it would copy them into its blocks. */
__attribute__((noinline)) static void clean_stack(void)
{
    char room[1 << 16];
    __msan_unpoison(room, sizeof room);
}

/* The C library's own calls are known to the sanitizer, but for these before LLVM 15. */
int __real_stat64(const char *path, struct stat *facts);
int __wrap_stat64(const char *path, struct stat *facts);

int __wrap_stat64(const char *path, struct stat *facts)
{
    const int rc = __real_stat64(path, facts);
    __msan_unpoison(facts, rc == 0 ? sizeof *facts : 0);
    return rc;
}

int __real_fstat64(int file, struct stat *facts);
int __wrap_fstat64(int file, struct stat *facts);

int __wrap_fstat64(int file, struct stat *facts)
{
    const int rc = __real_fstat64(file, facts);
    __msan_unpoison(facts, rc == 0 ? sizeof *facts : 0);
    return rc;
}

int __real_EVP_DigestUpdate(EVP_MD_CTX *context, const void *data, size_t size);
int __wrap_EVP_DigestUpdate(EVP_MD_CTX *context, const void *data, size_t size);

int __wrap_EVP_DigestUpdate(EVP_MD_CTX *context, const void *data, size_t size)
{
    __msan_check_mem_is_initialized(data, size);
    return __real_EVP_DigestUpdate(context, data, size);
}

int __real_EVP_DigestFinal_ex(EVP_MD_CTX *context, unsigned char *digest, unsigned int *length);
int __wrap_EVP_DigestFinal_ex(EVP_MD_CTX *context, unsigned char *digest, unsigned int *length);

int __wrap_EVP_DigestFinal_ex(EVP_MD_CTX *context, unsigned char *digest, unsigned int *length)
{
    const int done = __real_EVP_DigestFinal_ex(context, digest, length);
    __msan_unpoison(length, sizeof *length);
    __msan_unpoison(digest, *length);
    return done;
}

json_t *__real_json_loadb(const char *text, size_t length, size_t flags, json_error_t *error);
json_t *__wrap_json_loadb(const char *text, size_t length, size_t flags, json_error_t *error);

json_t *__wrap_json_loadb(const char *text, size_t length, size_t flags, json_error_t *error)
{
    __msan_check_mem_is_initialized(text, length);
    clean_stack();
    json_t *json = __real_json_loadb(text, length, flags, error);
    __msan_unpoison(error, sizeof *error);
    return json;
}

/* Calls that fill nothing of ours. */
#define ON_CLEAN_STACK(type, name, parameters, arguments) \
    type __real_##name parameters;                        \
    type __wrap_##name parameters;                        \
    type __wrap_##name parameters                         \
    {                                                     \
        clean_stack();                                    \
        return __real_##name arguments;                   \
    }

ON_CLEAN_STACK(int, EVP_DigestInit_ex, (EVP_MD_CTX * context, const EVP_MD *kind, ENGINE *engine),
               (context, kind, engine))
ON_CLEAN_STACK(json_t *, json_loads, (const char *text, size_t flags, json_error_t *error),
               (text, flags, error))
ON_CLEAN_STACK(json_t *, json_load_file, (const char *path, size_t flags, json_error_t *error),
               (path, flags, error))
ON_CLEAN_STACK(char *, json_dumps, (const json_t *json, size_t flags), (json, flags))
ON_CLEAN_STACK(size_t, json_dumpb, (const json_t *json, char *text, size_t size, size_t flags),
               (json, text, size, flags))
ON_CLEAN_STACK(int, json_dump_file, (const json_t *json, const char *path, size_t flags),
               (json, path, flags))

pcre2_code *__real_pcre2_compile_8(PCRE2_SPTR pattern, PCRE2_SIZE length, uint32_t options,
                                   int *code, PCRE2_SIZE *offset, pcre2_compile_context *context);
pcre2_code *__wrap_pcre2_compile_8(PCRE2_SPTR pattern, PCRE2_SIZE length, uint32_t options,
                                   int *code, PCRE2_SIZE *offset, pcre2_compile_context *context);

pcre2_code *__wrap_pcre2_compile_8(PCRE2_SPTR pattern, PCRE2_SIZE length, uint32_t options,
                                   int *code, PCRE2_SIZE *offset, pcre2_compile_context *context)
{
    __msan_check_mem_is_initialized(
        pattern, length == PCRE2_ZERO_TERMINATED ? strlen((const char *)pattern) : length);
    clean_stack();
    pcre2_code *compiled = __real_pcre2_compile_8(pattern, length, options, code, offset, context);
    __msan_unpoison(code, sizeof *code);
    __msan_unpoison(offset, sizeof *offset);
    return compiled;
}

int __real_pcre2_get_error_message_8(int code, PCRE2_UCHAR *text, PCRE2_SIZE size);
int __wrap_pcre2_get_error_message_8(int code, PCRE2_UCHAR *text, PCRE2_SIZE size);

int __wrap_pcre2_get_error_message_8(int code, PCRE2_UCHAR *text, PCRE2_SIZE size)
{
    const int length = __real_pcre2_get_error_message_8(code, text, size);
    __msan_unpoison(text, length < 0 ? size : (size_t)length + 1);
    return length;
}

int __real_pcre2_jit_match_8(const pcre2_code *pattern, PCRE2_SPTR text, PCRE2_SIZE length,
                             PCRE2_SIZE from, uint32_t options, pcre2_match_data *data,
                             pcre2_match_context *context);
int __wrap_pcre2_jit_match_8(const pcre2_code *pattern, PCRE2_SPTR text, PCRE2_SIZE length,
                             PCRE2_SIZE from, uint32_t options, pcre2_match_data *data,
                             pcre2_match_context *context);

int __wrap_pcre2_jit_match_8(const pcre2_code *pattern, PCRE2_SPTR text, PCRE2_SIZE length,
                             PCRE2_SIZE from, uint32_t options, pcre2_match_data *data,
                             pcre2_match_context *context)
{
    __msan_check_mem_is_initialized(text, length);
    return __real_pcre2_jit_match_8(pattern, text, length, from, options, data, context);
}

utf8proc_ssize_t __real_utf8proc_decompose_char(utf8proc_int32_t code, utf8proc_int32_t *parts,
                                                utf8proc_ssize_t room, utf8proc_option_t options,
                                                int *last);
utf8proc_ssize_t __wrap_utf8proc_decompose_char(utf8proc_int32_t code, utf8proc_int32_t *parts,
                                                utf8proc_ssize_t room, utf8proc_option_t options,
                                                int *last);

utf8proc_ssize_t __wrap_utf8proc_decompose_char(utf8proc_int32_t code, utf8proc_int32_t *parts,
                                                utf8proc_ssize_t room, utf8proc_option_t options,
                                                int *last)
{
    const utf8proc_ssize_t count = __real_utf8proc_decompose_char(code, parts, room, options, last);
    const utf8proc_ssize_t set = count < room ? count : room;
    __msan_unpoison(parts, set > 0 ? (size_t)set * sizeof *parts : 0);
    return count;
}
