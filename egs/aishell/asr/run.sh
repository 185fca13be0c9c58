#!/usr/bin/env bash
# Mandarin speech recognition: a Conformer with CTC, from the corpus to a scored and reported model.
#
#   ./run.sh --corpus mini                            synthesised speech, no download, minutes on two cores
#   ./run.sh --corpus aishell [--corpus-dir DIR]      AISHELL-1; downloaded unless DIR has it
#   ./run.sh --corpus kaldi_dir --corpus-dir DIR      your own: DIR/{train,dev,test}/{wav.scp,text,utt2spk}
#
# Results: EXP/results.json, EXP/report.html, EXP/score/summary.txt. Options:
set -euo pipefail
cd "$(dirname "$0")"

corpus=mini      # mini | aishell | aishell2 | thchs30 | kaldi_dir
corpus_dir=      # where the corpus lies, or is to be put [download/CORPUS]
on_bad_data=stop # stop at bad audio or text after reporting all of it | skip it
noise_dir=       # folder of noise recordings to mix into training, where the YAML asks for noise
data=            # directory of manifests and features [data/NAME]
extra_text=      # file of sentences for the language model besides the training text
conf=            # YAML of the experiment [conf/NAME.yaml if there is one, else conf/conformer_ctc.yaml]
corpus_conf=     # YAML of the mini corpus [conf/mini_corpus.yaml]
overrides=       # changes to the YAML, as in "training.epochs=5 model.dim=144"
exp=             # directory of the run [exp/NAME_CONF]
decoder=auto     # engine of the graph search: k2 | openfst | auto
nj=2             # jobs that run at a time
ngpu=1           # GPUs to train on, used where there are any; 0 for none
seed=0           # of every random choice in training
# shellcheck source=utils/stage.sh
. ../../../utils/stage.sh
# shellcheck source=path.sh
if stages_run; then . ../../../path.sh; fi
# shellcheck source=cmd.sh
. ../../../cmd.sh

corpus_dir=${corpus_dir:-download/$corpus}
corpus_dir=${corpus_dir%/}
corpus_conf=${corpus_conf:-conf/mini_corpus.yaml}
name=$corpus
[[ $corpus != kaldi_dir ]] || name=$(basename "$corpus_dir")
if [[ -z $conf ]]; then
  conf=conf/$name.yaml
  [[ -e $conf ]] || conf=conf/conformer_ctc.yaml
fi
experiment=$(basename "$conf" .yaml)
[[ $experiment == "$name" ]] || experiment=${name}_$experiment
exp=${exp:-exp/$experiment}
data=${data:-data/$name}
corpus_options=() manifest_options=() text_options=()
[[ $corpus != mini ]] || corpus_options=(--config "$corpus_conf")
[[ $corpus != mini || -z $noise_dir ]] || manifest_options=(--without noise)
[[ -z $extra_text ]] || text_options=(--extra-text "$extra_text")
read -r -a changes <<<"$overrides"
settings=(--config "$conf" "seed=$seed" "data.dir=$data" "data.lang=$exp/lang" "${changes[@]}")
stage_neutral+=(on_bad_data decoder)
# shellcheck disable=SC2034 # stage.sh prints it
stage_summary_file=$exp/score/summary.txt

# Features of a split, by $nj jobs, then their cuts in one file.
compute_features() { # SPLIT MANIFEST OPTION...
  $train_cmd --num-threads 1 JOB=1:"$nj" "$exp/log/fbank_$1.JOB.log" python3 -m steps.compute_fbank "${settings[@]}" \
    --recordings "$data/recordings_$1.jsonl.gz" "${@:3}" --out "$data/fbank_$1/JOB" --job JOB --num-jobs "$nj"
  python3 -m steps.combine_cuts --parts "$data/fbank_$1" --manifest "$2" --out "$data/cuts_$1.jsonl.gz"
}

if stage 0 "data" --in "${corpus_options[@]:1}" --out "$corpus_dir"; then
  python3 -m "local.$corpus" --download --corpus-dir "$corpus_dir" --num-jobs "$nj" "${corpus_options[@]}"
fi

if stage 1 "manifests" --in "$corpus_dir" --out "$data"/{recordings,supervisions}_{train,dev,test}.jsonl.gz; then
  python3 -m "local.$corpus" --corpus-dir "$corpus_dir" --out-dir "$data" --on-bad-data "$on_bad_data" --num-jobs "$nj" \
    "${manifest_options[@]}"
  [[ -z $noise_dir ]] || python3 -m local.noise_dir --corpus-dir "$noise_dir" --out-dir "$data" --num-jobs "$nj"
fi

if stage 2 "features" --in "$conf" "$data"/supervisions_{train,dev,test}.jsonl.gz --out "$data"/cuts_{train,dev,test}.jsonl.gz; then
  compute_features train "$data/supervisions_train.jsonl.gz" --supervisions "$data/supervisions_train.jsonl.gz" --speed-perturb true
  compute_features dev "$data/supervisions_dev.jsonl.gz" --supervisions "$data/supervisions_dev.jsonl.gz"
  compute_features test "$data/supervisions_test.jsonl.gz" --supervisions "$data/supervisions_test.jsonl.gz"
  [[ ! -e $data/recordings_noise.jsonl.gz ]] || compute_features noise "$data/recordings_noise.jsonl.gz"
fi

if stage 3 "lang and graph" --in "$conf" "$data"/supervisions_{train,dev}.jsonl.gz --out "$exp/lang" "$exp/graph/HLG.fst"; then
  texts=("${text_options[@]}" --supervisions "$data/supervisions_train.jsonl.gz")
  lexicon_options=()
  [[ ! -e $data/lexicon.txt ]] || lexicon_options=(--lexicon "$data/lexicon.txt")
  python3 -m steps.prepare_lang "${settings[@]}" "${texts[@]}" "${lexicon_options[@]}" --out "$exp/lang"
  python3 -m steps.train_ngram "${settings[@]}" "${texts[@]}" --dev-supervisions "$data/supervisions_dev.jsonl.gz" \
    --lang "$exp/lang" --out "$exp/lm.arpa"
  $train_cmd "$exp/log/compile_graph.log" \
    python3 -m steps.compile_graph "${settings[@]}" --lang "$exp/lang" --lm "$exp/lm.arpa" --out "$exp/graph"
fi

if stage 4 "train" --in "$conf" "$data"/cuts_{train,dev}.jsonl.gz "$exp/lang" --out "$exp/checkpoints" "$exp/metrics.jsonl"; then
  launch=(python3)
  ((ngpu < 2)) || launch=(python3 -m torch.distributed.run --standalone "--nproc_per_node=$ngpu")
  $cuda_cmd --gpu "$ngpu" --show-output "$exp/log/train.log" "${launch[@]}" -m steps.train "${settings[@]}" --exp "$exp"
fi

if stage 5 "average" --in "$exp/metrics.jsonl" --out "$exp/checkpoints/averaged.pt"; then
  $cuda_cmd --gpu "$((ngpu > 0))" "$exp/log/average.log" python3 -m steps.average_checkpoints "${settings[@]}" --exp "$exp"
fi

if stage 6 "decode" --in "$exp/checkpoints/averaged.pt" "$exp/graph/HLG.fst" "$data"/cuts_{dev,test}.jsonl.gz \
  --out "$exp"/decode_{dev,test}; then
  for split in dev test; do
    $decode_cmd --num-threads 1 JOB=1:"$nj" "$exp/log/decode_$split.JOB.log" python3 -m steps.decode_asr \
      --checkpoint "$exp/checkpoints/averaged.pt" --cuts "$data/cuts_$split.jsonl.gz" --lang "$exp/lang" \
      --graph "$exp/graph/HLG.fst" --engine "$decoder" --out "$exp/decode_$split/JOB" --job JOB --num-jobs "$nj" "${changes[@]}"
  done
fi

if stage 7 "score" --in "$exp"/decode_{dev,test}/1 --out "$exp/results.json"; then
  python3 -m steps.score_cer --exp "$exp" --dev "$exp/decode_dev" --test "$exp/decode_test" --corpus "$name" \
    --command "$stage_command" "${changes[@]}"
fi

if stage 9 "report" --in "$exp/results.json" --out "$exp/report.html"; then
  python3 -m steps.report --exp "$exp" --test-cuts "$data/cuts_test.jsonl.gz" --out "$exp/report.html"
fi
