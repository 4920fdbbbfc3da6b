/* SPDX-License-Identifier: MIT
 *
 * A result in HDF5 that is read back, where the HDF5 library may answer anything (hdf5_stand_in.h).
 */

#include "h5read.h"
#include "hdf5_stand_in.h"
#include "parts.h"
#include "results.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    otimes_reader reader;
    otimes_err err = {0};
    fuzz_hdf5_begin(data, size);
    const int rc = h5read_open(&reader, "/dev/null", &err);
    FUZZ_REQUIRE(rc == 0 || (err.code == rc && err.msg[0]));
    if (rc == 0) {
        fuzz_read_result(&reader);
    }
    h5read_close(&reader);
    fuzz_hdf5_end();
    return 0;
}
