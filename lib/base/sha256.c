/* SPDX-License-Identifier: MIT */
#include "base/sha256.h"

#include <stdio.h>

#include <openssl/evp.h>

static int failed(otimes_err *err) /* unreached: SHA-256 is always there */
{
    return otimes_fail(err, OTIMES_ERR_MEMORY, "sha256: the digest library failed");
}

int otimes_sha256_begin(otimes_sha256 *sha, otimes_err *err)
{
    sha->context = EVP_MD_CTX_new();
    if (!sha->context ||
        EVP_DigestInit_ex(sha->context, EVP_sha256(), NULL) != 1) { /* unreached: see above */
        EVP_MD_CTX_free(sha->context);
        sha->context = NULL;
        return failed(err);
    }
    return OTIMES_OK;
}

int otimes_sha256_add(otimes_sha256 *sha, const void *data, int64_t bytes, otimes_err *err)
{
    return EVP_DigestUpdate(sha->context, data, (size_t)bytes) == 1 ? OTIMES_OK : failed(err);
}

int otimes_sha256_finish(otimes_sha256 *sha, char hex[OTIMES_SHA256_HEX], otimes_err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    int rc = OTIMES_OK;
    if (sha->context && hex) {
        rc = EVP_DigestFinal_ex(sha->context, digest, &length) == 1 ? OTIMES_OK : failed(err);
        for (unsigned int i = 0; rc == OTIMES_OK && i < length; i++) {
            snprintf(hex + 2 * i, 3, "%02x", digest[i]);
        }
    }
    EVP_MD_CTX_free(sha->context);
    sha->context = NULL;
    return rc;
}
