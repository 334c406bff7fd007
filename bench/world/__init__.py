"""Train every model of the Blocks world in one go, on one GPU: `sh bench/world/run.sh FOLDER`."""
