# SPDX-License-Identifier: MIT
#
# otimes roles: the table to read, what is not told, and what is wrong.
. "$(dirname "$0")/lib.sh"

need_model
tab=$(printf '\t')

bundled=$root/notebooks-data/induction-2l
run roles "$bundled"
expect_status 0
expect_empty err
expect_match out '^head +previous +same +copying +induction +lowest +highest +with +r.previous +r.duplicate +r.induction +r.current +r.first  roles$'
expect_match out '^L0H2 .* previous-token$'
expect_match out '^L1H0 .* L0H2 .* induction, copying$'
expect_match out '^previous-token +L0H2  \(by weights at least 0.2, by attention at least 0.3\)$'
expect_match out '^  by weights alone +L0H1$'
expect_match out '^induction +L1H0 L1H1 L1H3  '
expect_match out '^duplicate-token +none  '

# By weights alone, and some heads of a later layer.
run roles "$bundled" --no-run --layers 1 --heads 0,2
expect_status 0
expect_match out '^head .* highest  with +  roles$'
expect_match out '^L1H0 .* L0H2 '
expect_match out '^induction +L1H0  '
expect_match out '^first-token +not told  '

# On texts too; chosen rows.
run roles "$bundled" --text 'self.name = name; self.path = path' --repeated 8 --count 2 --rows 5,7 --format tsv
expect_status 0
expect_match out '^# source_rows: 2'
expect_match out '^# texts: 1'
expect_match out "^row_id${tab}1${tab}7\$"
expect_match out "^text_induction${tab}1${tab}0${tab}0\.[0-9]+"
expect_match out "^label${tab}1${tab}0${tab}induction${tab}1\$"

# What a model does not tell.
run roles "$root/tests/golden/gemma3_text"
expect_status 0
expect_match out '^copying +not told: a norm stands between W_O and the stream$'
run roles "$root/tests/golden/gpt2" --raw
expect_status 0
expect_match out '^induction +not told: the norm.s weights are not folded$'

# What is wrong, in one line.
run roles "$bundled" --no-run --text a
expect_error 2 '--no-run: '
run roles "$bundled" --repeated 100000
expect_error 2 'repeated: expected at most '
run roles "$bundled" --heads 9
expect_error 2 '--heads: '
run roles "$bundled" --rows 99999999
expect_error 2 '--rows: '
run roles "$bundled" --row-count -1
expect_error 2 '--row-count: '
run roles
expect_status 2
finish
