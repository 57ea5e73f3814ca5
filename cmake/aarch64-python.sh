#!/usr/bin/env bash
# aarch64-python.sh FOLDER: lays Debian's Python for 64-bit Arm into a folder, with its headers and what it runs on. The
# system stays as it is.
set -euo pipefail
mkdir -p "$1"/{lists/partial,archives/partial}
cd "$1"
python=python3.11
for option in APT::Architecture=arm64 APT::Architectures=arm64 Dir::State::Lists="$PWD/lists" \
    Dir::State::status="$PWD/status" Dir::Cache="$PWD"; do options+=(-o "$option"); done
touch status
apt-get "${options[@]}" -q update
apt-get "${options[@]}" -q download "$python"-minimal lib"$python"-{minimal,stdlib,dev} \
    libc6 libgcc-s1 libstdc++6 libexpat1 zlib1g libffi8 libbz2-1.0 liblzma5 libuuid1 libssl3
for package in *.deb; do dpkg-deb -x "$package" root; done
rm -r ./*.deb lists archives
