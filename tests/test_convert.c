/* SPDX-License-Identifier: MIT
 *
 * Canonical weights written down: what comes out is what the model holds, and opening it again
 * gives the same model, without a step applied twice.
 */
#include "support.h"

#include <otimes/convert.h>

int main(void)
{
    return 0;
}
