# SPDX-License-Identifier: MIT
#
# Every command under limits of memory: the same file as without one, or one line that says so.
# OTIMES_LIMITS: how many limits for each command and kind of limit (2).
. "$(dirname "$0")/lib.sh"

need_model
command -v python3 >/dev/null || exit 77
SOURCE_DATE_EPOCH=86400
export SOURCE_DATE_EPOCH
cd "$work" || exit 1
python3 "$root/tests/cli/limited.py" "$otimes" "$root" "${OTIMES_LIMITS:-2}" || status=$?
exit $status
