#!/usr/bin/env bash
# The whole road on one card: draw, then VAE, teacher, trajectories, student, self-forcing, judge.
#
#   tools/twin/road.sh RECIPES RUNS [SECONDS]
#
# RECIPES is tools/twin/h100 or tools/twin/toy; RUNS keeps everything; after SECONDS (570) it saves,
# hands over and leaves with 75. The same command goes on where it stopped. SHOTSTREAM names the
# program (or the program packed with xz), PYTHON the interpreter. With OUT set, logs, times and the
# newest models are left there in parts that fit through a narrow door; with CARRY set, a new RUNS
# begins with the parts that are there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
recipes=$1 runs=$2 deadline=$(($(date +%s) + ${3:-570}))
python=${PYTHON:-python3}
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Compiled code is shared by the legs of a call and not by calls: one that was killed may leave half a file.
TORCHINDUCTOR_CACHE_DIR=$(mktemp -d) && export TORCHINDUCTOR_CACHE_DIR
mkdir -p "$runs"
# How many stories, and minutes of every leg.
source "$recipes/road.env"

program=${SHOTSTREAM:-shotstream}
if [[ $program == *.xz ]]; then
    xz -dc "$program" >"$runs/shotstream" && chmod +x "$runs/shotstream"
    program=$runs/shotstream
fi
if [[ -n ${CARRY:-} && ! -e $runs/fresh ]]; then
    cat "$CARRY"/models.tar.* | tar -x -C "$runs"
fi

hand_over() {
    [[ -n ${OUT:-} ]] || return 0
    (cd "$runs" && tar -czf "$OUT/logs.tar.gz" times.txt */log.jsonl judge*.json ./*.mp4 2>/dev/null) || true
    local legs=() leg kept=
    for leg in fresh pictures vae frames teacher student intra inter; do
        [[ -e $runs/$leg/model.safetensors ]] && legs=("$leg" "${legs[@]}")
    done
    rm -rf "$runs/out" && mkdir "$runs/out"
    # Newest first. Another leg may start from the newest, the teacher and the student; of the others
    # it is enough to know that they are finished, so they are links to the one after them.
    for leg in "${legs[@]}"; do
        mkdir "$runs/out/$leg"
        if [[ -z $kept || $leg == teacher || $leg == student ]]; then
            "$program" export "$runs/$leg/model.safetensors" "$runs/out/$leg/model.safetensors" --dtype f16
            kept=$leg
        else
            ln "$runs/out/$kept/model.safetensors" "$runs/out/$leg/model.safetensors"
        fi
    done
    tar -C "$runs/out" -c . | split -b 15000000 -d - "$OUT/models.tar."
}
trap hand_over EXIT

# Run something that may take the rest of the call, and note how long it took.
timed() {
    local name=$1 started=$SECONDS left=$((deadline - $(date +%s)))
    shift
    ((left > 0)) || exit 75
    # Training stops by itself at the deadline; what cannot is stopped a little later.
    timeout "$((left + 15))" "$@" || exit $(($? == 124 ? 75 : $?))
    echo "$name $((SECONDS - started))" >>"$runs/times.txt"
}

# A leg: its name and recipe, its stage, the leg it starts from, its data, its minutes.
leg() {
    local name=$1 stage=$2 from=$3 data=$4 minutes=$5
    [[ -e $runs/$name/model.safetensors ]] && return
    echo "== $name"
    timed "$name" "$python" "$here/train.py" "$stage" --recipe "$recipes/$name.toml" --dir "$runs/$name" \
        --from "$runs/$from/model.safetensors" --data "$runs/$data" --minutes "$minutes" \
        --deadline "$deadline" ${FLAGS:-}
}

draw() {
    local folder=$1
    shift
    timed "draw-$folder" "$program" world pictures -o "$runs/$folder" --model "$runs/fresh/model.safetensors" "$@"
}

if [[ ! -e $runs/fresh/model.safetensors ]]; then
    "$program" train fresh --recipe "$recipes/model.toml" --dir "$runs/fresh"
fi
if [[ ! -e $runs/vae/model.safetensors ]]; then
    draw stills --stories "$STILLS" --shots 1 --frames 1
    draw clips --stories "$CLIPS" --shots 1 --frames 9
fi
leg pictures vae fresh stills "$PICTURES_MINUTES"
leg vae vae pictures clips "$VAE_MINUTES"
rm -rf "$runs/stills" "$runs/clips"
# Pictures of stories are many: drawn, encoded and forgotten in rounds.
for ((round = 0; round < ROUNDS; round++)); do
    [[ -e $runs/latents/$round/done ]] && continue
    draw stories --stories "$STORIES" --seed $(((2 << 32) + round * STORIES)) --pairs "$PAIRS"
    timed encode "$python" "$here/train.py" encode --from "$runs/vae/model.safetensors" \
        --data "$runs/stories" --dir "$runs/latents/$round"
    touch "$runs/latents/$round/done"
    rm -r "$runs/stories"
done
leg frames teacher vae latents "$FRAMES_MINUTES"
leg teacher teacher frames latents "$TEACHER_MINUTES"
if [[ ! -e $runs/student/model.safetensors ]]; then
    timed pairs "$python" "$here/train.py" ode-pairs --recipe "$recipes/pairs.toml" --dir "$runs/pairs" \
        --from "$runs/teacher/model.safetensors" --data "$runs/latents" --deadline "$deadline"
fi
leg student ode-init teacher latents "$STUDENT_MINUTES"
leg intra self-forcing student latents "$INTRA_MINUTES"
leg inter self-forcing intra latents "$INTER_MINUTES"
for name in inter student; do
    [[ -e $runs/judge-$name.json ]] && continue
    timed "judge-$name" "$program" world judge --model "$runs/$name/model.safetensors" --stories "$JUDGED" \
        --json >"$runs/judge.tmp" && mv "$runs/judge.tmp" "$runs/judge-$name.json"
done
"$program" generate "$here/../../examples/fox-in-the-snow.json" --model "$runs/inter/model.safetensors" -o "$runs/fox.mp4"
echo "the road is walked"
