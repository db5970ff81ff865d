# shellcheck shell=sh
# Sourced by the other scripts, with the checkout as working directory:
# finds what they need and installs what is missing. POSIX sh.

say() { printf '==> %s\n' "$*" >&2; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# ensure_tools server|no-server: Rust, a C linker, Python 3.7+, and a PostgreSQL server if asked for.
ensure_tools() {
    # First what cannot be installed here, so that nobody waits for the rest in vain.
    ensure_rust
    ensure_apple_tools
    list_missing "$1"
    [ -n "$missing" ] || return 0
    install_missing
    list_missing "$1"
    [ -z "$missing" ] || fail "still not found after the installation: $missing"
}

# What the builder of a program cannot install by itself, where root lets somebody else build.
ensure_linker() {
    have cc || {
        missing=linker
        install_missing
    }
}

# What some tests of faults need besides. It is installed only in CI, by apt: a developer's machine should not
# get a pooler's service for the sake of a test. Where a tool is missing its tests leave themselves out and say so.
want_test_tools() {
    missing=
    for word in pgbouncer ip libfaketime; do
        has_test_tool "$word" || missing="$missing $(test_package_of "$word")"
    done
    missing=${missing# }
    [ -n "$missing" ] || return 0
    if [ -z "${CI:-}" ] || ! have apt-get; then
        say "some tests leave themselves out, for want of the packages: $missing"
        return 0
    fi
    command=$APT_COMMAND packages=$missing
    become_root
    say "installing for the tests: $missing"
    # shellcheck disable=SC2086 # a list of words
    install_with_apt $missing >&2 </dev/null || fail "apt-get could not install $missing: its message is above"
}

has_test_tool() {
    case $1 in
    libfaketime) [ -n "$(find /usr/lib* -name libfaketime.so.1 2>/dev/null)" ] ;;
    *) have "$1" || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] ;;
    esac
}

test_package_of() { case $1 in ip) echo iproute2 ;; *) echo "$1" ;; esac }

# Sets `missing` to the words of package_of for what is not there.
list_missing() {
    missing=
    have cc || missing="$missing linker"
    # 3.7 is the oldest Python that the example's scripts run on.
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 7))' 2>/dev/null || missing="$missing python"
    [ "$1" = no-server ] || postgresql_dir >/dev/null || missing="$missing postgresql"
    missing=${missing# }
}

# Prints the directory of a complete PostgreSQL server, looked for where the binary looks.
postgresql_dir() {
    for program in initdb postgres; do
        found=$(command -v "$program" 2>/dev/null) && is_server_dir "${found%/*}" && return
    done
    for dir in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/libexec/postgresql* /usr/lib/postgresql*/bin \
        /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin \
        /home/linuxbrew/.linuxbrew/opt/postgresql*/bin /Applications/Postgres.app/Contents/Versions/*/bin; do
        is_server_dir "$dir" && return
    done
    return 1
}

is_server_dir() { [ -x "$1/initdb" ] && [ -x "$1/postgres" ] && printf '%s\n' "$1"; }

# Cargo of the version that Cargo.toml asks for: on PATH, or where rustup puts it.
ensure_rust() {
    have cargo || PATH="$PATH:${CARGO_HOME:-${HOME:-/}/.cargo}/bin"
    export PATH
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    get_it="Rust $wanted or newer comes with rustup (https://rustup.rs), for one user, without root:
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh
or as a package where the distribution has one that is new enough:
    dnf install cargo    pacman -S rust    apk add cargo    brew install rust
It also needs a C linker, \`cc\`; this script installs that. Then start it again."
    have cargo || fail "Rust is missing. $get_it"
    version=$(cargo --version) || fail "cargo does not run: its message is above. $get_it"
    version=${version#cargo }
    version=${version%% *}
    is_at_least "$version" "$wanted" || fail "Rust $version is too old (with rustup: rustup update). $get_it"
}

# is_at_least 1.95.0 1.88: compares major and minor.
is_at_least() {
    major=${1%%.*} rest=${1#*.}
    minor=${rest%%.*}
    [ "$major" -gt "${2%%.*}" ] || { [ "$major" -eq "${2%%.*}" ] && [ "$minor" -ge "${2#*.}" ]; }
}

# On macOS the linker comes with Apple's tools, whose installer is a window.
ensure_apple_tools() {
    [ "$(uname -s)" != Darwin ] || xcode-select -p >/dev/null 2>&1 ||
        fail "Apple's command line tools are missing; install them and start again: xcode-select --install"
}

install_missing() {
    manager=
    for name in apt-get dnf apk pacman brew; do
        have "$name" && manager=$name && break
    done
    packages=
    for word in $missing; do
        packages="$packages $(package_of "$manager" "$word")"
    done
    packages=${packages# }
    [ -n "$manager" ] || fail "missing: $packages
There is no apt, dnf, apk, pacman or brew to install that with: do it by hand and start again."
    case $manager in
    apt-get) command=$APT_COMMAND ;;
    dnf) command="dnf install -y" ;;
    apk) command="apk add" ;;
    pacman) command="pacman -S --noconfirm --needed" ;;
    brew) command="brew install" ;;
    esac
    say "installing what is missing: $command $packages"
    # Messages of package managers are not results: they go where the messages go. Nothing that they
    # start may read what is meant for this script, save sudo, which asks at the terminal itself.
    root=
    [ "$manager" = brew ] || become_root
    # shellcheck disable=SC2086 # lists of words
    case $manager in
    apt-get) install_with_apt $packages ;;
    pacman) $root $command $packages || $root pacman -Sy --noconfirm --needed $packages ;; # -y: a fresh index
    *) $root $command $packages ;;
    esac >&2 </dev/null || fail "$manager could not install $packages: its message is above"
}

# package_of MANAGER WORD: the packages that hold a thing, or its plain name for an unknown manager.
package_of() {
    case $1:$2 in
    dnf:postgresql) echo postgresql-server ;;
    brew:postgresql) echo postgresql@17 ;;
    apt-get:postgresql | apk:postgresql | pacman:postgresql) echo postgresql ;;
    pacman:python) echo python ;;
    apt-get:python | dnf:python | apk:python | brew:python) echo python3 ;;
    apt-get:linker) echo gcc libc6-dev ;;
    dnf:linker) echo gcc glibc-devel ;;
    apk:linker) echo gcc musl-dev ;;
    pacman:linker | brew:linker) echo gcc ;;
    :postgresql) echo "[a PostgreSQL server 12+: initdb, postgres]" ;;
    :python) echo "[Python 3.7+: python3]" ;;
    :linker) echo "[a C linker: cc]" ;;
    esac
}

# Sets `root` to what makes a command run as root, or says what root has to run. Sudo may ask for a
# password only where somebody can answer: at a terminal.
become_root() {
    root=
    [ "$(id -u)" -ne 0 ] || return 0
    root=sudo
    if have sudo; then
        [ ! -t 2 ] || return 0
        ! sudo -n true 2>/dev/null || return 0
    fi
    fail "that needs root, and this user cannot become root here. Run this as root, then start again:
    $command $packages"
}

# What install_with_apt does, for somebody who has to do it by hand: the same packages.
APT_COMMAND="apt-get update && apt-get install -y --no-install-recommends"

# Debian sets up and starts a server when it installs one. Only the programs are wanted here, so a
# drop-in says no for as long as the installation takes; later installations are as they were.
install_with_apt() {
    # The index first: a fresh container has none, and an old one names packages that are gone.
    # shellcheck disable=SC2016 # the inner shell expands these
    $root sh -c '
        set -e
        drop_in=/etc/postgresql-common/createcluster.d/zz-process-orchestrator.conf
        mkdir -p "${drop_in%/*}"
        trap "rm -f $drop_in" EXIT
        trap "exit 1" HUP INT TERM
        echo "create_main_cluster = false" >"$drop_in"
        export DEBIAN_FRONTEND=noninteractive
        apt-get -qq -o DPkg::Lock::Timeout=120 update
        # Without the hundreds of lines about every package unpacked; errors are not among them.
        apt-get -qq -y -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 \
            install --no-install-recommends "$@" >/dev/null
    ' sh "$@"
}

# Prints cargo's target directory: CARGO_TARGET_DIR, cargo's configuration and the default, all are asked.
target_dir() {
    metadata=$(cargo metadata --format-version 1 --no-deps) || fail "cargo metadata failed: its message is above"
    printf '%s\n' "$metadata" | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p' | sed 's/\\\\/\\/g'
}

# Whether a PostgreSQL server runs under this process id: the file that names one outlives a killed server, and the number
# may belong to somebody else by now. Without /proc, as on macOS, ps is there.
is_server() {
    case $1 in '' | *[!0-9]*) return 1 ;; esac
    case $(cat "/proc/$1/comm" 2>/dev/null || ps -o comm= -p "$1" 2>/dev/null) in
    *postgres* | *postmaster*) ;;
    *) return 1 ;;
    esac
}
