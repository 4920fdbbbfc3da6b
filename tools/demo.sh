#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The main job on the bundled model: builds, runs info, bigram and heads, then the model itself on a line of code:
# patterns, decompose, ablate; says what to look at; and puts it all on one page.
# Usage: sh tools/demo.sh
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
sh "$root/tools/setup.sh"

otimes=$root/build/otimes
model=$root/notebooks-data/induction-2l
out=$root/build/demo
mkdir -p "$out"

"$otimes" info "$model"
"$otimes" info "$model" -o "$out/info.h5"
"$otimes" bigram "$model" --top 20 -o "$out/bigram.h5"
"$otimes" heads "$model" --top 10 -o "$out/heads.h5"

line='def area(self, width): self.width = width; return self.height * self.'
"$otimes" patterns "$model" --text "$line" --repeated 32 --full -o "$out/patterns.h5"
"$otimes" decompose "$model" --text "$line" --target w --sources -o "$out/decompose.h5"
"$otimes" ablate "$model" --text "$line" --target w -o "$out/ablate.h5"
"$otimes" report "$model" --text "$line" -o "$out/report.html"

# The same results as text, for a glance without any HDF5 tool.
"$otimes" heads "$model" -q -o "$out/heads.tsv"
"$otimes" bigram "$model" --top 3 -q -o "$out/bigram.tsv"

# name of an array, how many: heads with its largest entries
strongest() {
    awk -F '\t' -v name="$1" '$1 == name {printf "%.3f\tL%sH%s\n", $4, $2, $3}' "$out/heads.tsv" |
        sort -k1,1gr | head -n "$2" | awk -F '\t' '{printf "  %-6s %s\n", $2, $1}'
}

echo
echo "Strongest copying heads: Re(sum of eigenvalues) / sum of moduli of W_E W_OV W_U."
echo "1: all eigenvalues are positive, so by and large the head raises what it attends to; induction heads do."
strongest full_OV_copying 4
echo
echo "Heads whose W_QK matches a token with itself most: the same score of W_E W_QK W_E^T."
strongest full_QK_positivity 3
echo
echo "What the direct path makes likeliest after a token, at its most certain (log-probability):"
awk -F '\t' '$1 == "top_id" && $3 == 0 {next_of[$2] = $5}
    $1 == "top_log_prob" && $3 == 0 {printf "%.3f\t%s\t%s\n", $4, $2, next_of[$2]}' \
    "$out/bigram.tsv" | sort -k1,1gr | head -n 5 |
    awk -F '\t' '{printf "  %-12s -> %-12s %s\n", "\"" $2 "\"", "\"" $3 "\"", $1}'
echo
echo "Heads by what they do on random tokens written twice:"
"$otimes" patterns "$model" --repeated 32 -q | sed -n 's/^\(induction\|previous\|duplicate\)/  \1/p'
echo
echo "Where the logit of 'w' comes from, at the end of: $line"
"$otimes" decompose "$model" --text "$line" --target w --sources --top 4 --no-norms -q |
    sed -n '/component/,/sum/p'
echo
echo "Results: $out/info.h5, bigram.h5, heads.h5, patterns.h5, decompose.h5, ablate.h5,"
echo "and heads.tsv, bigram.tsv as text."
echo "They name themselves. In Python:"
echo "  import xarray"
echo "  heads = xarray.open_dataset('$out/heads.h5', engine='h5netcdf')"
echo "  heads.full_OV_copying.sel(layer=1)"
echo "What each array is: tools/schema/*.md"
echo
echo "All of it on one page, to open in a browser:"
echo "  $out/report.html"
