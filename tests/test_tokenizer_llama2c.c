/* SPDX-License-Identifier: MIT
 *
 * llama2.c's own tokenizer file, one of whose entries is wrong.
 */
#include "support.h"

#include <math.h>
#include <string.h>

#include <otimes/tokenizer.h>

static void entries(void **state)
{
    enum { TOKENS = 259, ENTRY = 9, WRONG = 100 };
    static const struct {
        float score;
        char text;
        const char *words;
    } cases[] = {{0, 'a', NULL},
                 {INFINITY, 'a', "token 100: expected a score that is finite"},
                 {NAN, 'a', "token 100: expected a score that is finite"},
                 {0, '\xff', "token 100: expected UTF-8"}};
    unsigned char bytes[4 + TOKENS * ENTRY] = {1};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        otimes_tokenizer *t = NULL;
        otimes_err err = {0};
        for (int id = 0; id < TOKENS; id++) {
            unsigned char *entry = bytes + 4 + ENTRY * id;
            memset(entry, 0, ENTRY);
            entry[4] = 1;
            entry[8] = 'a';
        }
        memcpy(bytes + 4 + ENTRY * WRONG, &cases[i].score, sizeof cases[i].score);
        bytes[4 + ENTRY * WRONG + 8] = (unsigned char)cases[i].text;
        write_file("tokenizer.bin", bytes, sizeof bytes);
        const int rc = otimes_tokenizer_open(&t, in_folder("tokenizer.bin"), &err);
        assert_int_equal(rc, cases[i].words ? OTIMES_ERR_FORMAT : 0);
        if (rc && !strstr(err.msg, cases[i].words)) {
            fail_msg("expected '%s', got '%s'", cases[i].words, err.msg);
        }
        otimes_tokenizer_close(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(entries, empty_folder)};
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
