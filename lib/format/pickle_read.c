/* SPDX-License-Identifier: MIT
 *
 * Literals. Text and bytes stay where they are in the mapped file.
 */
#include "format/pickle_read.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "format/le.h"

int otimes_pickle_take(otimes_pickle *machine, uint64_t count, const unsigned char **bytes)
{
    const int64_t left = machine->bytes - machine->at;
    if (count > (uint64_t)left) {
        return OTIMES_PICKLE_FAIL(machine, "expected %llu bytes more, got %lld (truncated?)",
                                  (unsigned long long)count, (long long)left);
    }
    *bytes = machine->data + machine->at;
    machine->at += (int64_t)count;
    return OTIMES_OK;
}

int otimes_pickle_number(otimes_pickle *machine, int width, uint64_t *number)
{
    const unsigned char *bytes = NULL;
    const int rc = otimes_pickle_take(machine, (uint64_t)width, &bytes);
    *number = rc == OTIMES_OK ? otimes_le(bytes, width) : 0;
    return rc;
}

int otimes_pickle_line(otimes_pickle *machine, otimes_pickle_text *line)
{
    const unsigned char *from = machine->data + machine->at;
    const unsigned char *end = machine->at < machine->bytes
                                   ? memchr(from, '\n', (size_t)(machine->bytes - machine->at))
                                   : NULL;
    if (!end) {
        return OTIMES_PICKLE_FAIL(machine, "expected a line, got none that ends (%s)",
                                  "truncated?");
    }
    *line = (otimes_pickle_text){(const char *)from, end - from};
    machine->at += line->length + 1;
    return OTIMES_OK;
}

/* ---- numbers ---- */

int otimes_pickle_decimal(otimes_pickle *machine, otimes_pickle_text line,
                          otimes_pickle_value **value)
{
    const bool negative = line.length > 0 && line.data[0] == '-';
    const bool suffix = line.length > 0 && line.data[line.length - 1] == 'L'; /* of Python 2 */
    const int64_t end = line.length - suffix;
    int64_t number = 0;
    bool fits = true, digits = end > negative;
    for (int64_t i = negative; digits && i < end; i++) {
        digits = isdigit((unsigned char)line.data[i]);
        fits = fits && !__builtin_mul_overflow(number, 10, &number) &&
               !__builtin_sub_overflow(number, line.data[i] - '0', &number);
    }
    if (!digits) {
        return OTIMES_PICKLE_FAIL(machine, "expected a decimal number, got a line of %lld bytes",
                                  (long long)line.length);
    }
    if (!fits || (!negative && number == INT64_MIN)) {
        return otimes_pickle_new_text(machine, OTIMES_PICKLE_BIG, line.data, end, value);
    }
    return otimes_pickle_new_int(machine, negative ? number : -number, value);
}

/* Protocol 0 wrote the booleans as the integers 00 and 01. */
static int read_int_line(otimes_pickle *machine, otimes_pickle_value **value)
{
    otimes_pickle_text line = {0};
    const int rc = otimes_pickle_line(machine, &line);
    if (rc == OTIMES_OK && line.length == 2 && line.data[0] == '0' &&
        (line.data[1] == '0' || line.data[1] == '1')) {
        *value = otimes_pickle_bool(line.data[1] == '1');
        return OTIMES_OK;
    }
    return rc == OTIMES_OK ? otimes_pickle_decimal(machine, line, value) : rc;
}

/* A decimal comma of the process' locale makes this an error, not another number. */
static int read_float_line(otimes_pickle *machine, otimes_pickle_value **value)
{
    enum { LONGEST = 63 };
    char copy[LONGEST + 1] = {0};
    otimes_pickle_text line = {0};
    const int rc = otimes_pickle_line(machine, &line);
    if (rc != OTIMES_OK) {
        return rc;
    }
    if (line.length > 0 && line.length <= LONGEST && !isspace((unsigned char)line.data[0])) {
        memcpy(copy, line.data, (size_t)line.length);
    }
    char *end;
    const double real = strtod(copy, &end);
    if (end == copy || *end != '\0' || end - copy != line.length) {
        return OTIMES_PICKLE_FAIL(machine, "expected a float, got a line of %lld bytes",
                                  (long long)line.length);
    }
    return otimes_pickle_new_float(machine, real, value);
}

/* Little-endian two's complement of as many bytes as it takes. */
static int read_long(otimes_pickle *machine, int width, otimes_pickle_value **value)
{
    uint64_t count;
    const unsigned char *bytes = NULL;
    int rc = otimes_pickle_number(machine, width, &count);
    if (rc == OTIMES_OK) {
        rc = otimes_pickle_take(machine, count, &bytes);
    }
    if (rc != OTIMES_OK) {
        return rc;
    }
    if (count > 8) {
        return otimes_pickle_new_text(machine, OTIMES_PICKLE_BIG, bytes, (int64_t)count, value);
    }
    uint64_t number = otimes_le(bytes, (int)count);
    if (count > 0 && count < 8 && (bytes[count - 1] & 0x80)) {
        number |= ~(uint64_t)0 << 8 * count;
    }
    return otimes_pickle_new_int(machine, (int64_t)number, value);
}

static int read_fixed(otimes_pickle *machine, int width, otimes_pickle_value **value)
{
    uint64_t number;
    const int rc = otimes_pickle_number(machine, width, &number);
    if (rc != OTIMES_OK) {
        return rc;
    }
    return otimes_pickle_new_int(machine, width == 4 ? (int32_t)(uint32_t)number : (int64_t)number,
                                 value);
}

/* Eight bytes, the only big-endian ones of the format. */
static int read_binary_float(otimes_pickle *machine, otimes_pickle_value **value)
{
    const unsigned char *bytes = NULL;
    int rc = otimes_pickle_take(machine, 8, &bytes);
    if (rc != OTIMES_OK) {
        return rc;
    }
    uint64_t bits = 0;
    double real;
    for (int i = 0; i < 8; i++) {
        bits = bits << 8 | bytes[i];
    }
    memcpy(&real, &bits, sizeof real);
    return otimes_pickle_new_float(machine, real, value);
}

/* ---- text and bytes ---- */

static int read_counted(otimes_pickle *machine, otimes_pickle_kind kind, int width,
                        otimes_pickle_value **value)
{
    uint64_t count;
    const unsigned char *bytes = NULL;
    int rc = otimes_pickle_number(machine, width, &count);
    if (rc == OTIMES_OK) {
        rc = otimes_pickle_take(machine, count, &bytes);
    }
    return rc == OTIMES_OK ? otimes_pickle_new_text(machine, kind, bytes, (int64_t)count, value)
                           : rc;
}

/* Text of protocol 0, which torch never writes: 'quoted' or bare. Only what needs no decoding. */
static int read_text_line(otimes_pickle *machine, bool quoted, otimes_pickle_value **value)
{
    otimes_pickle_text line = {0};
    const int rc = otimes_pickle_line(machine, &line);
    if (rc != OTIMES_OK) {
        return rc;
    }
    if (quoted) {
        const char quote = line.length >= 2 ? line.data[0] : '\0';
        if ((quote != '\'' && quote != '"') || line.data[line.length - 1] != quote) {
            return OTIMES_PICKLE_FAIL(machine, "expected a quoted text, got a line of %lld bytes",
                                      (long long)line.length);
        }
        line = (otimes_pickle_text){line.data + 1, line.length - 2};
    }
    for (int64_t i = 0; i < line.length; i++) {
        if (line.data[i] == '\\' || (unsigned char)line.data[i] >= 0x80) {
            return OTIMES_PICKLE_FAIL(machine, "text with escapes of protocol %d cannot be read",
                                      0);
        }
    }
    return otimes_pickle_new_text(machine, OTIMES_PICKLE_TEXT, line.data, line.length, value);
}

int otimes_pickle_literal(otimes_pickle *machine, unsigned char opcode, otimes_pickle_value **value)
{
    otimes_pickle_text line = {0};
    int rc;
    *value = NULL;
    switch (opcode) {
    case 'N':
        *value = otimes_pickle_none();
        return OTIMES_OK;
    case 0x88: /* NEWTRUE */
    case 0x89: /* NEWFALSE */
        *value = otimes_pickle_bool(opcode == 0x88);
        return OTIMES_OK;
    case 'I':
        return read_int_line(machine, value);
    case 'L':
        rc = otimes_pickle_line(machine, &line);
        return rc == OTIMES_OK ? otimes_pickle_decimal(machine, line, value) : rc;
    case 'K': /* BININT1 */
        return read_fixed(machine, 1, value);
    case 'M': /* BININT2 */
        return read_fixed(machine, 2, value);
    case 'J': /* BININT, the signed one */
        return read_fixed(machine, 4, value);
    case 0x8a: /* LONG1 */
        return read_long(machine, 1, value);
    case 0x8b: /* LONG4 */
        return read_long(machine, 4, value);
    case 'F':
        return read_float_line(machine, value);
    case 'G': /* BINFLOAT */
        return read_binary_float(machine, value);
    case 'S':
        return read_text_line(machine, true, value);
    case 'V': /* UNICODE */
        return read_text_line(machine, false, value);
    case 'U':  /* SHORT_BINSTRING */
    case 0x8c: /* SHORT_BINUNICODE */
        return read_counted(machine, OTIMES_PICKLE_TEXT, 1, value);
    case 'T': /* BINSTRING */
    case 'X': /* BINUNICODE */
        return read_counted(machine, OTIMES_PICKLE_TEXT, 4, value);
    case 0x8d: /* BINUNICODE8 */
        return read_counted(machine, OTIMES_PICKLE_TEXT, 8, value);
    case 'C': /* SHORT_BINBYTES */
        return read_counted(machine, OTIMES_PICKLE_BYTES, 1, value);
    case 'B': /* BINBYTES */
        return read_counted(machine, OTIMES_PICKLE_BYTES, 4, value);
    case 0x8e: /* BINBYTES8 */
    case 0x96: /* BYTEARRAY8 */
        return read_counted(machine, OTIMES_PICKLE_BYTES, 8, value);
    default:
        return OTIMES_OK;
    }
}
