/* SPDX-License-Identifier: MIT
 *
 * The options that commands share, each declared once.
 */
#include "opts.h"

#include <stddef.h>
#include <string.h>

#define FIELD(name) offsetof(common_options, name)

static const opt_word formats[] = {{"hdf5", FORMAT_HDF5},
                                   {"tsv", FORMAT_TSV},
                                   {"null", FORMAT_NULL},
                                   {"safetensors", FORMAT_SAFETENSORS},
                                   {NULL, 0}};

static const struct {
    unsigned mask;
    opt option;
} shared[] = {
    {OPTS_LAYERS,
     {.name = "layers",
      .argument = "LIST",
      .help = "layers to look at, e.g. 0,3-5 (default: all)",
      .kind = OPT_TEXT,
      .offset = FIELD(layers)}},
    {OPTS_HEADS,
     {.name = "heads",
      .argument = "LIST",
      .help = "query heads of each layer (default: all)",
      .kind = OPT_TEXT,
      .offset = FIELD(heads)}},
    {OPTS_TOKENS,
     {.name = "tokens",
      .argument = "LIST",
      .help = "token ids that the vocabulary is restricted to (default: all)",
      .kind = OPT_TEXT,
      .offset = FIELD(tokens)}},
    {OPTS_TEXT,
     {.name = "text",
      .argument = "TEXT",
      .help = "the text, encoded by the model's own tokenizer",
      .kind = OPT_TEXT,
      .offset = FIELD(text)}},
    {OPTS_TEXT,
     {.name = "text-file",
      .argument = "FILE",
      .help = "a text in each line of FILE; - is standard input",
      .kind = OPT_TEXT,
      .offset = FIELD(text_file)}},
    {OPTS_TEXT,
     {.name = "bos",
      .help = "begin each text with the BOS token (default: as the model was trained)",
      .kind = OPT_SWITCH,
      .offset = FIELD(bos)}},
    {OPTS_TOP,
     {.name = "top",
      .argument = "K",
      .help = "tokens kept at each end of an ordering; 0: none",
      .kind = OPT_NUMBER,
      .offset = FIELD(top),
      .low = 0,
      .high = INT32_MAX}},
    {OPTS_ALWAYS,
     {.name = "output",
      .letter = 'o',
      .argument = "FILE",
      .help = "write the result to FILE, which appears only when it is complete",
      .kind = OPT_TEXT,
      .offset = FIELD(output)}},
    {OPTS_ALWAYS,
     {.name = "format",
      .help = "form of the result (default: hdf5 to a FILE, tsv to a FILE that ends in .tsv or to "
              "standard output; weights to safetensors); null computes and keeps nothing",
      .kind = OPT_CHOICE,
      .offset = FIELD(format),
      .words = formats}},
    {OPTS_WEIGHTS,
     {.name = "raw",
      .help = "take the weights as they are in the file: every step below off unless it is "
              "asked for by name",
      .kind = OPT_FLAG,
      .offset = FIELD(raw)}},
    {OPTS_WEIGHTS,
     {.name = "fold-ln",
      .help = "fold norm weights into what reads the norm (default: on)",
      .kind = OPT_SWITCH,
      .offset = FIELD(fold_ln)}},
    {OPTS_WEIGHTS,
     {.name = "center-writing-weights",
      .help = "give every row that is written to the stream mean 0 (default: on)",
      .kind = OPT_SWITCH,
      .offset = FIELD(center_writing_weights)}},
    {OPTS_WEIGHTS,
     {.name = "center-unembed",
      .help = "give the unembedding mean 0 over the vocabulary (default: on)",
      .kind = OPT_SWITCH,
      .offset = FIELD(center_unembed)}},
    {OPTS_WEIGHTS,
     {.name = "fold-value-biases",
      .help = "move value biases into the output bias (default: on)",
      .kind = OPT_SWITCH,
      .offset = FIELD(fold_value_biases)}},
    {OPTS_WEIGHTS,
     {.name = "config",
      .argument = "FILE",
      .help =
          "configuration of the model (default: what its files say, or config.json beside them)",
      .kind = OPT_TEXT,
      .offset = FIELD(config)}},
    {OPTS_WEIGHTS,
     {.name = "state-dict",
      .argument = "KEY",
      .help = "dictionary of weights in a nested checkpoint, keys joined by dots (default: the one "
              "whose names are known)",
      .kind = OPT_TEXT,
      .offset = FIELD(state_dict)}},
    {OPTS_WEIGHTS,
     {.name = "threads",
      .argument = "N",
      .help = "threads to compute with (default: every processor)",
      .kind = OPT_NUMBER,
      .offset = FIELD(threads),
      .low = 1,
      .high = 4096}},
    {OPTS_ALWAYS,
     {.name = "progress",
      .help = "show progress on standard error (default: when it is a terminal)",
      .kind = OPT_SWITCH,
      .offset = FIELD(progress)}},
    {OPTS_ALWAYS,
     {.name = "quiet",
      .letter = 'q',
      .help = "print errors alone",
      .kind = OPT_FLAG,
      .offset = FIELD(quiet)}},
    {OPTS_ALWAYS, {.name = "help", .letter = 'h', .help = "print this text", .kind = OPT_HELP}},
};

_Static_assert(sizeof shared / sizeof *shared < OPTS_SHARED_MAX, "room for every shared option");

void opts_shared(unsigned masks, opt *table)
{
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) {
        if (shared[i].mask & masks) {
            *table++ = shared[i].option;
        }
    }
    memset(table, 0, sizeof *table);
}
