#!/bin/sh
# Train every model of the Blocks world for images of 128 pixels, in the order in which they need
# each other: sized for 15 minutes on one GPU with 16 cores (an estimate). Run it again to go on where it stopped.
# usage: sh bench/world.sh FOLDER; TINY=1 tries it in minutes on a CPU
set -e
out=$1
mkdir -p "$out"
run() { # recipe, minutes, options; sizes are for a GPU
    name=$1 minutes=$2
    shift 2
    if [ -n "$TINY" ]; then set -- --tiny; fi
    graft recipe run "$name" --out "$out/$name" --minutes "$minutes" $from "$@"
}
from="--side 128"
run judge 1 --scenes 24000 --batch 256 --steps 1500
run perception 1 --scenes 24000 --batch 128 --steps 2000
run clip 1 --scenes 40000 --batch 512 --steps 1500
from="--perception $out/perception --judge $out/judge"
run autoencoder 4 --scenes 40000 --batch 64 --steps 3000 --learning-rate 6e-4
from="--clip $out/clip --autoencoder $out/autoencoder --judge $out/judge"
run diffusion 3 --scenes 40000 --batch 512 --steps 3500
from="--autoencoder $out/autoencoder"
run noisy-classifier 0.5 --scenes 40000 --batch 256 --steps 1500
from="--diffusion $out/diffusion --judge $out/judge"
for kind in canny hough scribble pose segmentation normals depth lineart; do
    run "control-$kind" 1.5 --scenes 24000 --batch 128 --steps 900 >"$out/control-$kind.txt" 2>&1 &
done
wait
graft recipe eval autoencoder --model "$out/autoencoder" --judge "$out/judge" --sheet "$out/autoencoder.png"
graft recipe eval diffusion --model "$out/diffusion" --judge "$out/judge"
