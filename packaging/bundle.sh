#!/bin/sh
# Builds one function's artifact for `sam build`; the makefile of each architecture calls it. SAM's Python builder adds no
# byte code, and Lambda cannot write any: each cold start would compile every module that it imports.
# Runs in a copy of functions/ and fills ARTIFACTS_DIR. `cached = true` in samconfig.toml does not see a change of this
# file: build once with `sam build --no-cached` then.
set -eu
machine=$1 # as wheels name it

# Any Python on PATH, as SAM itself would take. PYENV_VERSION: pyenv's shims find no .python-version in the copy.
export PYENV_VERSION=3.13
python=$(
	IFS=:
	for folder in $PATH; do
		for python in "$folder/python3.13" "$folder/python3" "$folder/python"; do
			"$python" -EPc 'import pip, sys; sys.exit(sys.implementation.cache_tag != "cpython-313")' 2>/dev/null &&
				echo "$python" && exit
		done
	done
	echo "no Python 3.13 with pip on PATH (./hlc deploy brings its own)" >&2
	exit 1
)

# Only files whose hashes uv.lock has, and only wheels: a source distribution would run its own code here.
options="--quiet --disable-pip-version-check --requirement requirements.txt --require-hashes --no-deps
	--only-binary :all: --python-version 3.13 --implementation cp --abi cp313
	--platform manylinux2014_$machine --platform manylinux_2_17_$machine
	--platform manylinux_2_28_$machine --platform manylinux_2_34_$machine"

# Stored beside SAM's own caches, so that only new requirements need a package index. One folder for each function,
# because `sam build --parallel` builds both at the same time.
wheels=${ARTIFACTS_DIR%/*/*}/wheels/${ARTIFACTS_DIR##*/}

# The user's settings for pip (index, proxy, certificates) apply to the download only. The installation ignores them, so
# that only the files named by their hashes get into the artifact.
download() { PIP_REQUIRE_VIRTUALENV=0 "$python" -EPm pip download $options --dest "$wheels"; }
install() {
	PIP_CONFIG_FILE=/dev/null "$python" -EPm pip install --isolated $options --no-compile --target "$ARTIFACTS_DIR" \
		--no-index --find-links "$wheels"
}
if ! install 2>/dev/null; then
	rm -rf "$wheels" && mkdir -p "$wheels"
	download || {
		echo "The packages of functions/requirements.txt could not be downloaded from the package index (PyPI). Check the" \
			"network, a proxy (HTTPS_PROXY) and the index (PIP_INDEX_URL), then build again." >&2
		exit 1
	}
	install
fi

# PyNaCl needs only cffi's compiled backend. Nothing imports cffi, pycparser or the packages' scripts.
(cd "$ARTIFACTS_DIR" && rm -r cffi pycparser* bin)

cp -R . "$ARTIFACTS_DIR"
find "$ARTIFACTS_DIR" -mindepth 1 \( -name '.*' -o -name __pycache__ \) -prune -exec rm -r {} +

# Unchecked: neither the zip nor Lambda preserves the modification times that Python would compare. Paths as in Lambda.
"$python" -Im compileall -q --invalidation-mode unchecked-hash -s "$ARTIFACTS_DIR" -p /var/task "$ARTIFACTS_DIR"
