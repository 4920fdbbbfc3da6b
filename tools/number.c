/* SPDX-License-Identifier: MIT */
#include "number.h"

#include <math.h>

static double without_sign_of_zero(double value, int decimals)
{
    return fabs(value) < 0.5 * pow(10, -decimals) ? 0 : value;
}

void number_put(FILE *to, int width, int decimals, double value)
{
    if (isnan(value)) {
        fprintf(to, "%*s", width, "-");
    } else {
        fprintf(to, "%*.*f", width, decimals, without_sign_of_zero(value, decimals));
    }
}

void number_put_signed(FILE *to, int width, int decimals, double value)
{
    if (isnan(value)) {
        fprintf(to, "%*s", width, "-");
    } else {
        fprintf(to, "%+*.*f", width, decimals, without_sign_of_zero(value, decimals));
    }
}

void number_put_digits(FILE *to, int width, int digits, double value)
{
    if (isnan(value)) {
        fprintf(to, "%*s", width, "-");
    } else {
        fprintf(to, "%*.*g", width, digits, value + 0.0); /* of -0 that makes 0 */
    }
}

void number_put_percent(FILE *to, int width, int decimals, double share)
{
    number_put(to, width - 1, decimals, 100 * share);
    fputs(isnan(share) ? " " : "%", to);
}
