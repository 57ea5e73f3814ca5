# For scripts of many steps: `step NAME` begins one and ends the one before; `times` says what each took.
times=()
step() {
    if [ -n "${step_name-}" ]; then
        times+=("$(printf '%5d s  %s' $((SECONDS - step_begin)) "$step_name")")
        printf -- '--- %s\n' "${times[-1]}"
    fi
    step_name=$1 step_begin=$SECONDS
    printf '\n=== %s ===\n' "$1"
}
