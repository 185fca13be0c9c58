#!/usr/bin/env bash
# Speaker recognition: embeddings, back ends and calibrated decisions, from the corpus to an exported model.
#
#   ./run.sh --corpus mini                            synthesised speakers, no download, minutes on two cores
#   ./run.sh --corpus cnceleb [--corpus-dir DIR]      CN-Celeb 1 and 2; downloaded unless DIR has them
#   ./run.sh --corpus kaldi_dir --corpus-dir DIR      your own: DIR/{train,dev,test}/{wav.scp,utt2spk}
#   ./run.sh --corpus mini --grid true                every extractor of the YAML's folder, in one table
#
# Results: EXP/results.json, EXP/report.html, EXP/score/summary.txt, EXP/model.onnx. Options:
set -euo pipefail
cd "$(dirname "$0")"

corpus=mini      # mini | cnceleb | voxceleb | kaldi_dir
corpus_dir=      # where the corpus lies, or is to be put [download/CORPUS]
on_bad_data=stop # stop at bad audio after reporting all of it | skip it
noise_dir=       # folder of noise recordings, or of MUSAN, to mix into training
rir_dir=         # folder of room impulse responses, to be convolved with in training
data=            # directory of manifests [data/NAME]
conf=            # YAML of the experiment [conf/small/ecapa_tdnn.yaml for mini, else conf/resnet34.yaml]
corpus_conf=     # YAML of the mini corpus [conf/mini_corpus.yaml]
overrides=       # changes to the YAML, as in "training.epochs=5 data.batch_size=64"
exp=             # directory of the run [exp/NAME_CONF]
grid=false       # run every YAML that lies beside the chosen one, and write one table of all
large_margin=    # YAML of a fine-tuning with longer chunks and a larger margin, run after this one
nj=2             # jobs that run at a time
ngpu=1           # GPUs to train on, used where there are any; 0 for none
seed=0           # of every random choice
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
  conf=conf/resnet34.yaml
  [[ $corpus != mini ]] || conf=conf/small/ecapa_tdnn.yaml
fi
experiment=${name}_$(basename "$conf" .yaml)
if [[ $grid == true ]] && stages_run; then
  for one in "$(dirname "$conf")"/*.yaml; do
    [[ $one != *_lm.yaml ]] || continue # fine-tunes another one's model
    ./run.sh "${_stage_words[@]}" --grid false --conf "$one" --exp "${exp:-exp/grid_$name}/$(basename "$one" .yaml)"
  done
  python3 -m steps.write_results "${exp:-exp/grid_$name}"/*/results.json --out "${exp:-exp/grid_$name}/RESULTS.md"
  cat "${exp:-exp/grid_$name}/RESULTS.md"
  exit
fi
exp=${exp:-exp/$experiment}
data=${data:-data/$name}
module=local.$corpus corpus_options=() manifest_options=()
case $corpus in
  mini) module=local.mini_speakers corpus_options=(--config "$corpus_conf") ;;
  kaldi_dir) manifest_options=(--without-text) ;;
esac
[[ $corpus != mini || -z $noise_dir ]] || manifest_options+=(--without noise)
[[ $corpus != mini || -z $rir_dir ]] || manifest_options+=(--without rir)
read -r -a changes <<<"$overrides"
settings=(--config "$conf" "seed=$seed" "data.dir=$data" "${changes[@]}")
trainer=train exported=$exp/model.onnx
if grep -qs '^task: *ivector' "$conf"; then trainer=train_ivector exported=$exp/results.json; fi
stage_neutral+=(on_bad_data large_margin grid)
# shellcheck disable=SC2034 # stage.sh prints it
stage_summary_file=$exp/score/summary.txt
splits=(train dev test)

if stage 0 "data" --in "${corpus_options[@]:1}" --out "$corpus_dir"; then
  python3 -m "$module" --download --corpus-dir "$corpus_dir" --num-jobs "$nj" "${corpus_options[@]}"
fi

if stage 1 "manifests" --in "$corpus_dir" --out "$data"/{recordings,supervisions}_{train,dev,test}.jsonl.gz; then
  python3 -m "$module" --corpus-dir "$corpus_dir" --out-dir "$data" --on-bad-data "$on_bad_data" --num-jobs "$nj" \
    "${manifest_options[@]}"
  [[ -z $noise_dir ]] || python3 -m local.noise_dir --corpus-dir "$noise_dir" --out-dir "$data" --num-jobs "$nj"
  [[ -z $rir_dir ]] || python3 -m local.rirs --corpus-dir "$rir_dir" --out-dir "$data" --num-jobs "$nj"
fi

if stage 2 "cuts" --in "$data"/supervisions_{train,dev,test}.jsonl.gz --out "$data"/cuts_{train,dev,test}.jsonl.gz; then
  python3 -m steps.make_cuts --data "$data" --split "${splits[@]}"
fi

if stage 3 "trial lists" --in "$conf" "$data"/supervisions_{dev,test}.jsonl.gz --out "$exp"/trials_{dev,test}; then
  for split in dev test; do
    python3 -m steps.prepare_trials "${settings[@]}" --data "$data" --split "$split" --out "$exp/trials_$split"
  done
fi

if stage 4 "train" --in "$conf" "$data"/cuts_{train,dev}.jsonl.gz --out "$exp/checkpoints"; then
  launch=(python3)
  ((ngpu < 2)) || launch=(python3 -m torch.distributed.run --standalone "--nproc_per_node=$ngpu")
  $cuda_cmd --gpu "$ngpu" --show-output "$exp/log/train.log" "${launch[@]}" -m "steps.$trainer" "${settings[@]}" --exp "$exp"
fi

if stage 5 "average" --in "$exp/checkpoints" --out "$exp/checkpoints/averaged.pt"; then
  # Factor analysis has no epochs to average over: its model is there already.
  [[ $trainer == train_ivector ]] || $cuda_cmd --gpu "$((ngpu > 0))" "$exp/log/average.log" \
    python3 -m steps.average_checkpoints "${settings[@]}" --exp "$exp"
fi

if stage 6 "embeddings" --in "$exp/checkpoints/averaged.pt" "$data"/cuts_{train,dev,test}.jsonl.gz "$exp"/trials_{dev,test} \
  --out "$exp"/embeddings_{train,dev,test}; then
  for split in "${splits[@]}"; do
    options=()
    [[ $split == train ]] || options=(--trials "$exp/trials_$split")
    $decode_cmd --num-threads 1 JOB=1:"$nj" "$exp/log/extract_$split.JOB.log" python3 -m steps.extract_embeddings \
      --checkpoint "$exp/checkpoints/averaged.pt" --cuts "$data/cuts_$split.jsonl.gz" "${options[@]}" \
      --out "$exp/embeddings_$split/JOB" --job JOB --num-jobs "$nj" "${changes[@]}"
  done
fi

if stage 7 "score" --in "$exp"/embeddings_{train,dev,test}/1 "$exp"/trials_{dev,test} --out "$exp/results.json"; then
  python3 -m steps.score_trials --exp "$exp" --data "$data" --corpus "$name" --command "$stage_command" "${changes[@]}"
fi

if stage 8 "export" --in "$exp/results.json" --out "$exported"; then
  # Factor analysis is no network: its model is used by steps.enroll_speakers and steps.identify_speaker as it is.
  [[ $trainer == train_ivector ]] || python3 -m steps.export_onnx --checkpoint "$exp/checkpoints/averaged.pt" \
    --backend "$exp/score/backend" --out "$exported"
fi

if stage 9 "report" --in "$exp/results.json" --out "$exp/report.html"; then
  python3 -m steps.report --exp "$exp" --test-cuts "$data/cuts_test.jsonl.gz" --out "$exp/report.html"
fi

if [[ -n $large_margin ]] && stages_run; then
  ./run.sh "${_stage_words[@]}" --stage 3 --large-margin "" --conf "$large_margin" --exp "${exp}_lm" \
    --overrides "$overrides training.init_from=$exp/checkpoints/averaged.pt"
fi
