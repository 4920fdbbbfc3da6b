/* SPDX-License-Identifier: MIT */
#include "canonical_check.h"

int main(void)
{
    return 0;
}
