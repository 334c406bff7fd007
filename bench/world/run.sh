#!/bin/sh
# Train every model of the Blocks world for images of 128 pixels at once, on one GPU with 16 cores,
# in a given time. Each model waits for those that it is made from; scenes are rendered on the GPU
# where numba-cuda is installed.
#
# usage: sh bench/world/run.sh FOLDER [SECONDS]
#
# FOLDER/NAME/model is a model, FOLDER/logs has what was printed, and `marks` who is done.
# To try it on a CPU:
#   SCENES=64 JUDGED=32 MAPS=24 HELD_OUT=8 BATCH=2 WORKERS=2 sh bench/world/run.sh /tmp/world 900
set -e
export WORLD=$1 WORLD_SECONDS=${2:-600}
export SCENES=${SCENES:-100352} JUDGED=${JUDGED:-24576} MAPS=${MAPS:-28672} HELD_OUT=${HELD_OUT:-500}
workers=${WORKERS:-15}
mkdir -p "$WORLD/logs" "$WORLD/marks"
rm -f "$WORLD"/marks/*
date +%s.%N >"$WORLD/marks/began"
n=0
while [ $n -lt "$workers" ]; do
    python3 -m bench.world.prepare $n "$workers" >"$WORLD/logs/prepare-$n.log" 2>&1 &
    n=$((n + 1))
done
for name in autoencoder clip judge perception diffusion noisy-classifier control-canny \
    control-hough control-scribble control-pose control-segmentation control-normals \
    control-depth control-lineart; do
    python3 -m bench.world.train $name >"$WORLD/logs/$name.log" 2>&1 &
done
wait
tail -qn 1 "$WORLD"/logs/*.log
