#!/bin/sh
# Installs what the commands of this project need into the clone; the Makefile calls it in the clone's folder:
#   tools.sh uv VERSION                          uv itself, into .tools/uv
#   tools.sh sync GROUP ENVIRONMENT [OPTION]…    a dependency group of uv.lock
# A failure ends with one sentence that names the fix.
set -eu
uv=.tools/uv/bin/uv
again="then run the command again."

fail() {
	echo "$*" >&2
	exit 1
}

require_own_folder() {
	for folder in . .tools .venv; do
		if [ -e "$folder" ] && [ ! -w "$folder" ]; then
			fail "$(id -un) may not write to $(pwd)/${folder#.}: use a clone of your own."
		fi
	done
}

# In `/`, because a pyenv that lacks the version of .python-version offers no python3 here.
install_uv() {
	command -v python3 >/dev/null ||
		fail "python3 is missing. Install Python 3.13 (Debian, Ubuntu: apt install python3 python3-venv; macOS:" \
			"brew install python@3.13), $again"
	(cd / && python3 -c "import ensurepip, venv") 2>/dev/null ||
		fail "This python3 cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv, $again"
	echo "installing uv" >&2
	rm -rf .tools/uv
	mkdir -p .tools
	here=$(pwd)
	(cd / && python3 -m venv "$here/.tools/uv")
	.tools/uv/bin/python -m pip install -qq --disable-pip-version-check "uv==$1" || {
		rm -rf .tools/uv
		fail "uv could not be installed from the package index (PyPI). Check the network, a proxy (HTTPS_PROXY) and the" \
			"index (PIP_INDEX_URL), $again"
	}
}

sync() {
	group=$1 environment=$2
	shift 2
	echo "installing the tools for: $group" >&2
	if ! "$uv" python find --no-python-downloads >/dev/null 2>&1; then
		echo "Python $(cat .python-version) is not installed: downloading it from github.com" >&2
		"$uv" python install --quiet ||
			fail "Python $(cat .python-version) could not be downloaded. Install it (Debian, Ubuntu: apt install python3.13" \
				"python3.13-venv; macOS: brew install python@3.13; anywhere: pyenv install 3.13), $again"
	fi
	VIRTUAL_ENV='' UV_PROJECT_ENVIRONMENT=$environment "$uv" sync --quiet --frozen "$@" ||
		fail "The tools for $group could not be installed from the package index (PyPI). Check the network, a proxy" \
			"(HTTPS_PROXY) and the index (UV_DEFAULT_INDEX), $again"
}

require_own_folder
command=$1
shift
case $command in
uv) install_uv "$@" ;;
sync) sync "$@" ;;
esac
