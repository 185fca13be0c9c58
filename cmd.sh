# shellcheck shell=bash
# How jobs are started. Choose with `cmd_backend=slurm ./run.sh ...`, or change the default here.
#
#   local  on this machine, as many jobs at a time as there are cores or GPUs
#   slurm  sbatch arrays
#   sge    qsub arrays (Grid Engine)
#
# The words after the program's name are options of utils/jobs.py (run.py --help prints them); a stage may
# add its own behind them. --native=WORD hands a word to sbatch or qsub as it is:
#
#   cuda_cmd="slurm.py --native=--partition=gpu --native=--account=speech --time 2-00:00:00"
#   train_cmd="sge.py --native=-q --native=all.q --mem 4G"
cmd_backend=${cmd_backend:-local}
case $cmd_backend in
  local)
    train_cmd="run.py"
    decode_cmd="run.py"
    cuda_cmd="run.py"
    ;;
  slurm)
    train_cmd="slurm.py --mem 4G"
    decode_cmd="slurm.py --mem 4G"
    cuda_cmd="slurm.py --mem 16G"
    ;;
  sge)
    train_cmd="sge.py --mem 4G"
    decode_cmd="sge.py --mem 4G"
    cuda_cmd="sge.py --mem 16G"
    ;;
  *)
    echo "cmd.sh: cmd_backend is local, slurm or sge, not '$cmd_backend'" >&2
    exit 2
    ;;
esac
export cmd_backend
export train_cmd  # data preparation and other work on CPUs
export decode_cmd # decoding and scoring
export cuda_cmd   # training; the recipe adds --gpu N
