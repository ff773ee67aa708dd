# tally.sh - counts the tests of a stage and keeps the names of those that failed; sourced by ./check.
#
# Each stage appends lines "PASSED FAILED SKIPPED" to $TALLY, and to $FAILED a line "FAILED name (where)" for each test
# that failed, with what it said on indented lines below.
# shellcheck shell=bash

tally() { printf '%s %s %s\n' "$1" "$2" "$3" >>"$TALLY"; }

# note_failed NAME [WHERE]: what it said is read from stdin; the first lines of it are kept.
note_failed() {
  printf 'FAILED %s%s\n' "$1" "${2:+ ($2)}" >>"$FAILED"
  awk 'NF && n++ < 5 { print "    " substr($0, 1, 200) }' >>"$FAILED"
}

# step_failed NAME: keeps the end of what it has printed since its heading; stages write to $LOG alone.
step_failed() {
  tally 0 1 0
  sed -n "\\|^--- $1\$|,\$p" "$LOG" | sed 1d | tail -n 4 | note_failed "$1"
  printf 'FAILED: %s\n' "$1"
}

# one NAME COMMAND...: a step that counts as one test.
one() {
  local name=$1
  shift
  printf -- '--- %s\n' "$name"
  if "$@"; then tally 1 0 0; else step_failed "$name"; return 1; fi
}

# one_of NAME COMMAND...: the same for a program that says by its status 77 that it cannot run here.
one_of() {
  local name=$1 code=0
  shift
  printf -- '--- %s\n' "$name"
  "$@" </dev/null || code=$?
  case $code in
    0) tally 1 0 0 ;;
    77) tally 0 0 1 ;;
    *) step_failed "$name"; return 1 ;;
  esac
}

# The tests of one "make check" in DIR: each cmocka test counts; other programs count as one each.
tally_make_check() {
  local dir=$1 trs log result counts name names
  while IFS= read -r trs; do
    log=${trs%.trs}.log
    result=$(sed -n 's/^:test-result: //p' "$trs" | head -n 1)
    counts=$(awk '/^\[  PASSED  \] [0-9]+ test/ { p += $4 } /^\[  FAILED  \] .*: +[0-9]+ test|^\[  FAILED  \] [0-9]+ test/ { for (i = 4; i <= NF; i++) if ($i ~ /^[0-9]+$/) { f += $i; break } }
      /^\[  SKIPPED \] .*: +[0-9]+ test|^\[  SKIPPED \] [0-9]+ test/ { for (i = 4; i <= NF; i++) if ($i ~ /^[0-9]+$/) { s += $i; break } }
      END { print p + 0, f + 0, s + 0 }' "$log")
    case "$result $counts" in
      "PASS 0 0 0") counts="1 0 0" ;;
      "SKIP 0 0 0") counts="0 0 1" ;;
      PASS\ *|SKIP\ *) ;;
      *)
        name=${trs#"$dir"/}
        printf 'FAILED: %s (%s)\n' "$name" "$result"
        tail -n 60 "$log"
        names=$(sed -n -E 's/^\[  (FAILED  |ERROR   )\] ([A-Za-z0-9_]+)$/\2/p' "$log" | sort -u | xargs)
        { grep -aE '\] --- |^ERROR: |ERROR: .*Sanitizer|WARNING: .*Sanitizer|runtime error:|[Aa]ssertion|^SUMMARY: ' "$log" || tail -n 4 "$log"; } |
          note_failed "${name%.trs}${names:+: $names}" "$(basename "$dir")"
        # a program that died after its first passes has failed, whatever it printed
        [ "$(echo "$counts" | cut -d' ' -f2)" != 0 ] || counts="$(echo "$counts" | cut -d' ' -f1) 1 $(echo "$counts" | cut -d' ' -f3)" ;;
    esac
    # shellcheck disable=SC2086  # three numbers
    tally $counts
  done < <(find "$dir/tests" -name '*.trs' 2>/dev/null | sort)
}

# tally_junit FILE: what pytest has written; each name is as pytest takes it on its command line.
tally_junit() {
  "$PY" - "$1" "$FAILED" >>"$TALLY" <<'END'
import os, re, sys, xml.etree.ElementTree as tree
p = f = s = 0
label = os.path.basename(sys.argv[1])[:-len(".xml")]
with open(sys.argv[2], "a", encoding="utf-8") as failed:
    for suite in tree.parse(sys.argv[1]).getroot().iter("testsuite"):
        total, bad = int(suite.get("tests")), int(suite.get("failures")) + int(suite.get("errors"))
        skip = int(suite.get("skipped"))
        f, s, p = f + bad, s + skip, p + max(0, total - bad - skip)
        for case in suite.iter("testcase"):
            file, name = case.get("classname"), case.get("name")
            name = f"{file}.py::{name}" if file else name.replace(".", "/") + ".py"
            for trouble in [*case.findall("failure"), *case.findall("error")]:
                lines = (trouble.text or "").splitlines()
                # pytest marks the lines of an exception with E; what ends a test otherwise has said it in its message,
                # with the pooler's log below
                said = [line[1:].strip() for line in lines if line.startswith("E  ")]
                told = (trouble.get("message") or "").splitlines()
                said = said or told[:1] + [line for line in told[1:] if re.search("Sanitizer|runtime error|ssertion", line)]
                where = [line for line in lines if line.startswith("tests/") and ": " in line][-1:]
                said = [line[:200] for line in said if line.strip()] or ["it did not say why"]
                print(f"FAILED tests/integration/{name} ({label})", *said[:4], *where, sep="\n    ", file=failed)
print(p, f, s)
END
}

# failed_tests FILE: each with what it said, the first 40 lines.
failed_tests() {
  local lines
  lines=$(wc -l <"$1")
  head -n 40 "$1"
  [ "$lines" -le 40 ] || printf '... and %d lines more in %s\n' $((lines - 40)) "build/logs/$(basename "$1")"
}

# failed_names FILE: without what they said.
failed_names() { awk '/^FAILED / && !seen[$0]++' "$1"; }

# The end of a log, without pytest's lines of dots.
log_tail() { sed -E '/^[.sxXFE]+( *\[ *[0-9]+%\])?$/d' "$1" | tail -n "${CHECK_TAIL:-30}"; }
