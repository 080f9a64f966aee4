# Sourced by `try` and `test`: a virtual environment in .venv with this project in it, made once and reused.
# Takes $PYTHON, else the newest python3 that is new enough. Prints nothing when there is nothing to do.

say() { printf '%s\n' "$*" >&2; }

is_new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
  for candidate in ${PYTHON:-} python3.14 python3.13 python3.12 python3.11 python3; do
    if is_new_enough "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  say "Python 3.11 or newer is needed: install it, or name it with PYTHON=/path/to/python."
  return 1
}

# Debian ships venv apart from Python; without it `python -m venv` fails halfway.
ensure_venv_module() {
  "$1" -c 'import ensurepip, venv' 2>/dev/null && return
  version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  install_package "python$version-venv" "python3-venv"
}

# install_package PACKAGE [OTHER NAME]: with the system's package manager, if we may.
install_package() {
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "Installing $1 …"
    apt-get update -qq >/dev/null
    for name in "$@"; do
      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$name" >/dev/null 2>&1 && return
    done
  fi
  say "Please install $1 (for example: sudo apt-get install $1) and run this again."
  return 1
}

# prepare EXTRA: the stamp holds what the environment was made from, so that a second run starts at once.
prepare() {
  python=$(find_python)
  stamp="$1 $("$python" -VV) $(cksum < pyproject.toml)"
  [ "$(cat .venv/stamp 2>/dev/null)" = "$stamp" ] && return
  ensure_venv_module "$python"
  say "Preparing .venv with $("$python" -V) (once, about a minute) …"
  "$python" -m venv --clear .venv
  # The pip of an older Python takes twice as long to find the same packages; a newer one says more of how it builds.
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
  .venv/bin/python -m pip install --quiet --quiet --disable-pip-version-check --editable ".[$1]"
  printf '%s\n' "$stamp" > .venv/stamp
}
