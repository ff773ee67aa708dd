# build.sh - out-of-tree builds in build/<variant>; sourced by ./check and ./demo.
#
# The sources are mirrored into build/src first and built from there: a tree in which somebody
# has run ./configure cannot be the source of another build, and the tree stays as it was.
# shellcheck shell=bash

# pgs_source_files TOP: the files of the project, one per line. Without git (or outside of a clone) all files but
# what a build in the tree leaves there: make would take these for its own.
pgs_source_files() {
  if [ -e "$1/.git" ] && command -v git >/dev/null 2>&1; then
    git -c safe.directory='*' -C "$1" ls-files -co --exclude-standard
  else
    (cd "$1" && find . \( -name .git -o -path './build*' -o -path './pgsluice*' -o -name autom4te.cache -o -name .deps -o \
      -name __pycache__ -o -name .pytest_cache \) -prune -o -type f ! -name '*.o' ! -name '*.a' ! -name '*.log' ! -name '*.trs' \
      ! -name .dirstamp ! -path './aclocal.m4' ! -path './config.*' ! -path './configure' ! -path './configure~' \
      ! -path './Makefile' ! -path './Makefile.in' ! -path './stamp-h1' ! -path './print_options' ! -path './man/pgsluice.ini.5' \
      ! \( -path './tests/unit/*' ! -name '*.*' \) ! \( -path './tests/sim/*' ! -name '*.*' \) \
      ! \( -path './tests/fuzz/fuzz_*' ! -name '*.*' \) -print | sed 's,^\./,,')
  fi | LC_ALL=C sort
}

# pgs_mirror TOP: brings TOP/build/src up to date, keeping times so that make rebuilds only what changed.
pgs_mirror() {
  local top=$1 src=$1/build/src list=$1/build/src.list file
  mkdir -p "$src"
  pgs_source_files "$top" >"$list.new"
  if [ -f "$list" ]; then
    LC_ALL=C comm -23 "$list" "$list.new" | while IFS= read -r file; do rm -f "$src/$file"; done
  fi
  (cd "$top" && while IFS= read -r file; do [ -f "$file" ] && printf '%s\0' "$file"; done <"$list.new" |
    xargs -0 cp -pu --parents -t "$src")
  mv "$list.new" "$list"
  if [ ! -f "$src/configure" ] || [ -n "$(find "$src" \( -name configure.ac -o -name '*.am' \) -newer "$src/configure" -print -quit)" ]; then
    (cd "$src" && autoreconf -fi)
    touch "$src/configure"
  fi
}

# pgs_configure TOP VARIANT [CONFIGURE-ARGUMENT...]: configures TOP/build/VARIANT, once for the same arguments.
pgs_configure() {
  local top=$1 dir=$1/build/$2 stamp
  shift 2
  mkdir -p "$dir"
  stamp="$dir/.configured"
  if [ ! -f "$dir/Makefile" ] || [ "$(cat "$stamp" 2>/dev/null)" != "$*" ] || [ "$top/build/src/configure" -nt "$dir/config.status" ]; then
    (cd "$dir" && ../src/configure -q "$@")
    printf '%s' "$*" >"$stamp"
  fi
}

# pgs_make TOP VARIANT [MAKE-ARGUMENT...]
pgs_make() {
  local top=$1 variant=$2
  shift 2
  make -s -C "$top/build/$variant" -j"${PGS_JOBS:-2}" "$@"
}
