/* SPDX-License-Identifier: MIT
 *
 * Under a sanitizer tests take ten times as long, and may do less of the same.
 */
#ifndef OTIMES_TESTS_SANITIZED_H
#define OTIMES_TESTS_SANITIZED_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) || \
    __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif

#endif
