/* SPDX-License-Identifier: MIT
 *
 * Pickles that no torch.save wrote: malformed ones, and those that are made to take memory and time
 * without end. Each is one error, soon (run under ASan and UBSan).
 */
#include "torch_bytes.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* A pickle of these opcodes with one storage beside it. */
static void refused_ops(const char *ops, size_t length, const char *words)
{
    bytes pickle = {0}, file = {0};
    put(&pickle, ops, length);
    put_zip_of(&file, &pickle, 1);
    refused_bytes(&file, OTIMES_ERR_FORMAT, words, words);
    release(&pickle);
    release(&file);
}

static void malformed_pickles(void **state)
{
    (void)state;
    static const struct {
        const char *ops;
        size_t length;
        const char *words;
    } cases[] = {
#define CASE(ops, words) {ops, sizeof(ops) - 1, words}
        CASE("", "truncated"),
        CASE(".", "expected 1 values on the stack, got 0"),
        CASE("(.", "expected 1 values"),
        CASE("K\x01(.", "expected 1 values"),
        CASE("K\x01.", "expected a state dict, got a single value"),
        CASE("N.", "expected a state dict"),
        CASE("\x80\x06}.", "protocol 0 to 5, got 6"),
        CASE("\x95\xff\xff\xff\xff\xff\xff\xff\xff}.", "18446744073709551615 bytes more"),
        CASE("\x95\x03\x00\x00\x00\x00\x00\x00\x00}.", "expected 3 bytes more, got 2"),
        CASE("t.", "expected a mark"),
        CASE("0.", "expected 1 values"),
        CASE("1.", "expected a mark"),
        CASE("2.", "expected 1 values"),
        CASE("(2.", "expected 1 values"),
        CASE("\x87.", "expected 3 values"),
        CASE("K\x01(K\x02\x86.", "expected 2 values on the stack, got 1"),
        CASE("}K\x01s.", "a dict to add to, got nothing"),
        CASE("}(K\x01u.", "keys and values, got 1"),
        CASE("(K\x01"
             "d.",
             "keys and values, got 1"),
        CASE("K\x01"
             "a.",
             "expected a list to add to, got nothing"),
        CASE("}K\x01"
             "a.",
             "expected a list to add to, got a dict"),
        CASE(")K\x01"
             "a.",
             "expected a list to add to, got a tuple"),
        CASE("N(K\x01"
             "e.",
             "expected a list to add to, got None"),
        CASE("](K\x01K\x02u.", "expected a dict to add to, got a list"),
        CASE("](K\x01\x90.", "expected a set to add to, got a list"),
        CASE("h\x00.", "memo: nothing was put under number 0"),
        CASE("K\x01q\x03h\x02.", "memo: nothing was put under number 2"),
        CASE("j\xff\xff\xff\xff.", "memo: nothing was put under number 4294967295"),
        CASE("}r\xff\xff\xff\xff.", "memo: expected a number below 6, got 4294967295"),
        CASE("}r\x00\x00\x00\x03.", "memo: expected a number below 6, got 50331648"),
        CASE("}p-1\n.", "memo: expected a number below"),
        CASE("}p99999999999999999999\n.", "memo: expected a number below"),
        CASE("g-1\n.", "memo: nothing was put"),
        CASE("(q\x00.", "memo: expected a value"),
        CASE("X\xff\xff\xff\xffhi", "expected 4294967295 bytes more"),
        CASE("T\xff\xff\xff\xffhi", "bytes more"),
        CASE("\x8d\xff\xff\xff\xff\xff\xff\xff\xffhi", "18446744073709551615 bytes more"),
        CASE("\x8e\xff\xff\xff\xff\xff\xff\xff\x7fhi", "9223372036854775807 bytes more"),
        CASE("\x8b\xff\xff\xff\xff.", "bytes more"),
        CASE("X\x03", "expected 4 bytes more, got 1"),
        CASE("I12", "a line, got none"),
        CASE("I\n.", "a decimal number"),
        CASE("I-\n.", "a decimal number"),
        CASE("I1x\n.", "a decimal number"),
        CASE("LL\n.", "a decimal number"),
        CASE("F\n.", "a float"),
        CASE("F1.5x\n.", "a float"),
        CASE("F 1.5\n.", "a float"),
        CASE("F0000000000000000000000000000000000000000000000000000000000000000001.5\n.",
             "a float"),
        CASE("Sx\n.", "a quoted text"),
        CASE("S'\n.", "a quoted text"),
        CASE("S'a\\n'\n.", "escapes"),
        CASE("V\\u00e9\n.", "escapes"),
        CASE("cos\nsystem\nU\x02ls\x85R.", "global os.system is not part of a state dict"),
        CASE("cos", "a line, got none"),
        CASE("cos\nsystem", "a line, got none"),
        CASE("U\x02os\x8c\x06system\x93.", "global os.system is not part"),
        CASE("K\x01U\x01x\x93.", "a global: expected two texts, got an integer and a text"),
        CASE("U\x08"
             "builtins\x8c\x07getattr\x93.",
             "global builtins.getattr is not part"),
        CASE("cbuiltins\neval\n.", "global builtins.eval is not part"),
        CASE("c__main__\nNet\n)\x81}b.", "__main__.Net|save model.state_dict()"),
        CASE("ctorch.nn.modules.linear\nLinear\n.", "torch.nn.modules.linear.Linear|state_dict()"),
        CASE("cmodel\nGPT\n.", "model.GPT|state_dict()"),
        CASE("ctorch\nload\n.", "global torch.load is not part of a state dict"),
        CASE("ctorch._utils\n_rebuild_sparse_tensor\n.", "_rebuild_sparse_tensor is not part"),
        CASE("U\x03"
             "a\nb\x8c\x03"
             "c\rd\x93.",
             "global a?b.c?d is not part"),
        CASE("U\x00U\x00\x93.", "global . is not part"),
        CASE("cbuiltins\nint\nK\x01\x85R.", "a call of builtins.int"),
        CASE("ctorch.nn.parameter\nParameter\n)\x81.", "a call of torch.nn.parameter.Parameter"),
        CASE("K\x01)R.", "expected a global and a tuple"),
        CASE("ccollections\nOrderedDict\nNR.", "expected a global and a tuple"),
        CASE("ctorch\nFloatStorage\n)R.", "expected a global and a tuple"),
        CASE("ccollections\nOrderedDict\nK\x01\x85R.", "expected pairs, got an integer"),
        CASE("ccollections\nOrderedDict\n)\x85\x85R.", "expected pairs, got a tuple"),
        CASE("cbuiltins\nset\nK\x01\x85R.", "expected a sequence"),
        CASE("cbuiltins\nset\n))\x86R.", "expected a sequence"),
        CASE("ctorch\nSize\n)R.", "torch.Size"),
        CASE("c_codecs\nencode\nX\x03\x00\x00\x00\xe2\x82\xac\x85R.", "beyond latin1"),
        CASE("c_codecs\nencode\nX\x01\x00\x00\x00\xc3\x85R.", "beyond latin1"),
        CASE("c_codecs\nencode\nU\x01"
             "aU\x04utf8\x86R.",
             "latin1"),
        CASE("cnumpy\ndtype\n)R.", "numpy.dtype"),
        CASE("cnumpy\ndtype\nU\x02"
             "f8\x85RNb.",
             "numpy.dtype"),
        CASE("]}b.", "expected an object to set attributes of, got a list"),
        CASE("NNb.", "expected an object to set attributes of, got None"),
        CASE("P1\n.", "persistent id"),
        CASE("NQ.", "persistent id"),
        CASE(")Q.", "persistent id"),
        CASE("(U\x06moduleNNNNtQ.", "persistent id"),
        CASE("(U\x07storageNU\x01"
             "0U\x03"
             "cpuK\x01tQ.",
             "persistent id: expected a storage type"),
        CASE("(U\x07storagectorch\nFloatStorage\nK\x01U\x03"
             "cpuK\x01tQ.",
             "persistent id: expected a storage type and a short text"),
        CASE("(U\x07storagectorch\nFloatStorage\nU\x01"
             "0U\x03"
             "cpuNtQ.",
             "persistent id: expected a size"),
        CASE("(U\x07storagectorch\nFloatStorage\nU\x01"
             "0U\x03"
             "cpuI-1\ntQ.",
             "persistent id: expected a size"),
        CASE("(U\x07storagectorch\nFloatStorage\nU\x01"
             "0U\x03"
             "cpuI4611686018427387904\ntQ.",
             "persistent id: expected a size"),
        CASE("(U\x07storagectorch\nFloatStorage\nU\x01"
             "0U\x03"
             "cpuK\x10(U\x01vK\x0fK\x02ttQ.",
             "a view"),
        CASE("(U\x07storagectorch\nFloatStorage\nU\x01"
             "0U\x03"
             "cpuK\x10K\x02tQ.",
             "a view"),
        CASE("(U\x07storagectorch\nFloatStorage\nU\x01"
             "9U\x03"
             "cpuK\x10tQ.",
             "storage r/data/9|no such entry"),
        CASE("(U\x07storagectorch\nFloatStorage\nU\x01"
             "0U\x03"
             "cpuK\x11tQ.",
             "storage r/data/0|expected 68 bytes, got 64"),
        CASE("ctorch._utils\n_rebuild_tensor_v2\n)R.", "a tensor: expected"),
        CASE("ctorch._utils\n_rebuild_tensor_v3\n)R.", "_rebuild_tensor_v3"),
        CASE("ctorch._utils\n_rebuild_parameter\nN\x85R.", "_rebuild_parameter"),
        CASE("ctorch._tensor\n_rebuild_from_type_v2\n)R.", "_rebuild_from_type_v2"),
        CASE("ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\n"
             "cnumpy\nndarray\n)NtR.",
             "_rebuild_from_type_v2: expected a torch.Tensor"),
        CASE("ctorch._tensor\n_rebuild_from_type_v2\nq\x01(h\x01"
             "ctorch\nTensor\n)NtR.",
             "_rebuild_from_type_v2|expected"),
        CASE("i__main__\nNet\n.", "opcode 0x69"),
        CASE("\x92.", "opcode 0x92"),
        CASE("\x82\x01.", "opcode 0x82"),
        CASE("\xff.", "opcode 0xff"),
#undef CASE
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        refused_ops(cases[i].ops, cases[i].length, cases[i].words);
    }
}

/* ---- what grows ---- */

/* Seconds of the processor and megabytes at most since the process began are bounded. */
static void refused_soon(const bytes *pickle, const char *words, const char *what)
{
    bytes file = {0};
    struct rusage usage;
    put_zip_of(&file, pickle, 1);
    const clock_t begin = clock();
    if (words) {
        refused_bytes(&file, OTIMES_ERR_FORMAT, words, what);
    } else {
        survives(&file);
    }
    const double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    if (seconds > 30 || usage.ru_maxrss > 3 << 20) {
        fail_msg("%s: %.1f seconds, %ld kB", what, seconds, usage.ru_maxrss);
    }
    release(&file);
}

static void repeat(bytes *b, const char *ops, size_t length, int64_t times)
{
    for (int64_t i = 0; i < times; i++) {
        put(b, ops, length);
    }
}

#define REPEAT(b, ops, times) repeat((b), (ops), sizeof(ops) - 1, (times))

static void deep_and_circular(void **state)
{
    (void)state;
    enum { DEEP = 1000000 };
    bytes b = {0};
    put_text(&b, ")");
    REPEAT(&b, "\x85", DEEP);
    put_text(&b, ".");
    refused_soon(&b, "at most 100 containers in one another", "tuples");
    b.length = 0;
    REPEAT(&b, "]", DEEP);
    REPEAT(&b, "a", DEEP - 1);
    put_text(&b, ".");
    refused_soon(&b, "at most 100 containers in one another", "lists");
    b.length = 0;
    REPEAT(&b, "}U\x01k", DEEP);
    put_text(&b, "N");
    REPEAT(&b, "s", DEEP);
    put_text(&b, ".");
    refused_soon(&b, "k.k.k|at most 100 containers in one another", "dicts");
    b.length = 0;
    REPEAT(&b, "(", DEEP);
    REPEAT(&b, "t", DEEP);
    put_text(&b, ".");
    refused_soon(&b, "at most 100 containers in one another", "marks");
    b.length = 0;
    PUT_OPS(&b, "]2a.");
    refused_soon(&b, "at most 100 containers", "a list in itself");
    b.length = 0;
    PUT_OPS(&b, "}2U\x01x");
    PUT_OPS(&b, "}q\x00"
                "0h\x00"
                "s.");
    refused_soon(&b, NULL, "a dict");
    b.length = 0;
    PUT_OPS(&b, "}q\x00U\x01k](h\x00h\x00"
                "es.");
    refused_soon(&b, "at most 100 containers", "a dict in its list");
    b.length = 0;
    PUT_OPS(&b, "]q\x00(");
    REPEAT(&b, "h\x00", DEEP);
    PUT_OPS(&b, "e.");
    refused_soon(&b, "pickle", "a list in itself many times");
    release(&b);
}

/* Each list holds the one before it twice or ten times: 2^60, 10^90 in all. */
static void billion_laughs(void **state)
{
    (void)state;
    bytes b = {0};
    PUT_OPS(&b, "]");
    REPEAT(&b, "2\x86", 60);
    put_text(&b, ".");
    refused_soon(&b, "many times its size", "pairs");
    b.length = 0;
    PUT_OPS(&b, "U\x04"
                "lol!q\x00");
    REPEAT(&b, "0(h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00lq\x00", 90);
    put_text(&b, ".");
    refused_soon(&b, "many times its size", "tens");
    b.length = 0;
    put_tensor(&b, &two_rows, false);
    REPEAT(&b, "2\x86", 60);
    put_text(&b, ".");
    refused_soon(&b, "many times its size", "tensors");
    release(&b);
}

/* One long text, used again and again: as value, key, path, bytes. */
static void long_texts(void **state)
{
    (void)state;
    enum { LONG = 60000, TIMES = 100000 };
    bytes b = {0};
    char *text = calloc(LONG + 1, 1);
    memset(text, 'x', LONG);
    put_string(&b, text);
    PUT_OPS(&b, "q\x00"
                "0](");
    REPEAT(&b, "h\x00", 4000);
    PUT_OPS(&b, "e.");
    refused_soon(&b, "many times its size", "values");
    b.length = 0;
    put_string(&b, text);
    PUT_OPS(&b, "q\x00"
                "0}q\x01](");
    REPEAT(&b, "}h\x00Ns", TIMES);
    PUT_OPS(&b, "e.");
    refused_soon(&b, "many times its size", "keys");
    b.length = 0;
    put_text(&b, "}");
    put_string(&b, text);
    put_text(&b, "](");
    put_tensor(&b, &two_rows, false);
    PUT_OPS(&b, "q\x00");
    REPEAT(&b, "h\x00", TIMES);
    PUT_OPS(&b, "es.");
    refused_soon(&b, "many times its size", "paths");
    b.length = 0;
    PUT_OPS(&b, "c_codecs\nencode\nq\x00"
                "0");
    put_string(&b, text);
    PUT_OPS(&b, "\x85q\x01"
                "0](");
    REPEAT(&b, "h\x00h\x01R", TIMES);
    PUT_OPS(&b, "e.");
    refused_soon(&b, "many times the bytes read", "bytes");
    b.length = 0;
    PUT_OPS(&b, "cbuiltins\nset\nq\x00"
                "0](");
    REPEAT(&b, "N", TIMES);
    PUT_OPS(&b, "e\x85q\x01"
                "0](");
    REPEAT(&b, "h\x00h\x01R", TIMES);
    PUT_OPS(&b, "e.");
    refused_soon(&b, "many times the bytes read", "copies");
    free(text);
    release(&b);
}

static void much_of_everything(void **state)
{
    (void)state;
    enum { TIMES = 1000000 };
    static const struct {
        const char *before, *ops, *after;
    } cases[] = {
        {"", "(", "."},     {"", "2", "."},       {"N", "2", "."},   {"N", "q\x05", "."},
        {"]", "Na", "."},   {"](", "N", "e."},    {"](", "]", "e."}, {"", "}", "."},
        {"}(", "NN", "u."}, {"](", "I1\n", "e."},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        bytes b = {0};
        put_text(&b, cases[i].before);
        repeat(&b, cases[i].ops, strlen(cases[i].ops), TIMES);
        put_text(&b, cases[i].after);
        refused_soon(&b, NULL, cases[i].ops);
        release(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(malformed_pickles, empty_folder),
        cmocka_unit_test_teardown(deep_and_circular, empty_folder),
        cmocka_unit_test_teardown(billion_laughs, empty_folder),
        cmocka_unit_test_teardown(long_texts, empty_folder),
        cmocka_unit_test_teardown(much_of_everything, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
