#!/usr/bin/env bash
# Speech separation: two talkers at once taken apart, from the corpus to an exported model.
#
#   ./run.sh --corpus mini                            synthesised speech, no download, minutes on two cores
#   ./run.sh --corpus aishell [--corpus-dir DIR]      AISHELL-1; downloaded unless DIR has it
#   ./run.sh --corpus kaldi_dir --corpus-dir DIR      your own: DIR/{train,dev,test}/{wav.scp,utt2spk}
#
# Results: EXP/results.json, EXP/report.html, EXP/score/summary.txt, EXP/model.onnx. Options:
set -euo pipefail
cd "$(dirname "$0")"

corpus=mini       # mini | aishell | aishell2 | thchs30 | kaldi_dir
corpus_dir=       # where the corpus lies, or is to be put [download/CORPUS]
on_bad_data=stop  # stop at bad audio or text after reporting all of it | skip it
noise_dir=        # folder of noise recordings, or of MUSAN, where the YAML asks for noise
rir_dir=          # folder of room impulse responses, where the YAML asks for rooms
data=             # directory of manifests, plans and mixtures [data/NAME]
conf=             # YAML of the experiment [conf/NAME.yaml if there is one, else conf/conv_tasnet.yaml]
corpus_conf=      # YAML of the mini corpus [conf/mini_corpus.yaml]
overrides=        # changes to the YAML, as in "training.epochs=5 mixtures.sampling_rate=16000"
exp=              # directory of the run [exp/NAME_CONF]
sets=full,partial # sets of mixtures to separate and score, of those in the YAML
speaker_model=    # checkpoint of egs/cnceleb/speaker: talkers to be extracted are told by its embeddings
asr_exp=          # run of egs/aishell/asr (its checkpoint and lang), for character error rates
dnsmos_dir=       # folder with sig_bak_ovr.onnx, for DNSMOS
nj=2              # jobs that run at a time
ngpu=1            # GPUs to train on, used where there are any; 0 for none
nproc=2           # processes that train together where there is no GPU
seed=0            # of every random choice
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
  [[ -e $conf ]] || conf=conf/conv_tasnet.yaml
fi
experiment=$(basename "$conf" .yaml)
[[ $experiment == "$name" ]] || experiment=${name}_$experiment
exp=${exp:-exp/$experiment}
data=${data:-data/$name}
corpus_options=() manifest_options=() voice_options=() score_options=()
[[ $corpus != mini ]] || corpus_options=(--config "$corpus_conf")
[[ $corpus != mini || -z $noise_dir ]] || manifest_options=(--without noise)
[[ $corpus != kaldi_dir || -e $corpus_dir/train/text ]] || manifest_options=(--without-text)
read -r -a changes <<<"$overrides"
[[ -z $speaker_model ]] || changes+=("data.enrolments=$exp/enrolments")
[[ -z $speaker_model ]] || voice_options=(--enrolments "$exp/enrolments_test")
[[ -z $asr_exp ]] || score_options+=(--asr-checkpoint "$asr_exp/checkpoints/averaged.pt" --asr-lang "$asr_exp/lang" --cuts "$data/cuts_test.jsonl.gz")
[[ -z $dnsmos_dir ]] || score_options+=(--dnsmos-dir "$dnsmos_dir")
settings=(--config "$conf" "seed=$seed" "data.dir=$data" "${changes[@]}")
IFS=, read -r -a kinds <<<"$sets"
stage_neutral+=(on_bad_data)
# shellcheck disable=SC2034 # stage.sh prints it
stage_summary_file=$exp/score/summary.txt

if stage 0 "data" --in "${corpus_options[@]:1}" --out "$corpus_dir"; then
  python3 -m "local.$corpus" --download --corpus-dir "$corpus_dir" --num-jobs "$nj" "${corpus_options[@]}"
fi

if stage 1 "manifests" --in "$corpus_dir" --out "$data"/{recordings,supervisions}_{train,dev,test}.jsonl.gz; then
  python3 -m "local.$corpus" --corpus-dir "$corpus_dir" --out-dir "$data" --on-bad-data "$on_bad_data" --num-jobs "$nj" \
    "${manifest_options[@]}"
  [[ -z $noise_dir ]] || python3 -m local.noise_dir --corpus-dir "$noise_dir" --out-dir "$data" --num-jobs "$nj"
  [[ -z $rir_dir ]] || python3 -m local.rirs --corpus-dir "$rir_dir" --out-dir "$data" --num-jobs "$nj"
fi

if stage 2 "mixtures" --in "$conf" "$data"/supervisions_{train,dev,test}.jsonl.gz \
  --out "$data"/plan_"${kinds[0]}"_{train,dev,test}.jsonl.gz "$data/mixtures_${kinds[0]}_test"; then
  python3 -m steps.make_cuts --data "$data"
  python3 -m steps.measure_levels --data "$data" --num-jobs "$nj"
  python3 -m steps.simulate_mixtures "${settings[@]}" --data "$data"
  python3 -m steps.render_mixtures "${settings[@]}" --data "$data" --num-jobs "$nj"
fi

if stage 3 "audit" --in "$data"/plan_"${kinds[0]}"_{train,dev,test}.jsonl.gz --out "$exp/audit.json"; then
  python3 -m steps.audit_mixtures --data "$data" --sets "${kinds[@]}" --out "$exp/audit.json"
  [[ -z $speaker_model ]] || for split in train dev test; do
    $decode_cmd --num-threads 1 JOB=1:"$nj" "$exp/log/enrol_$split.JOB.log" python3 -m steps.extract_embeddings \
      --checkpoint "$speaker_model" --cuts "$data/cuts_$split.jsonl.gz" --out "$exp/enrolments_$split/JOB" \
      --job JOB --num-jobs "$nj"
  done
fi

if stage 4 "train" --in "$conf" "$data/cuts_train.jsonl.gz" "$data/plan_${kinds[0]}_dev.jsonl.gz" --out "$exp/checkpoints"; then
  processes=$ngpu launch=(python3)
  [[ -e /dev/nvidiactl && $ngpu -gt 0 ]] || processes=$nproc
  ((processes < 2)) || launch=(python3 -m torch.distributed.run --standalone "--nproc_per_node=$processes")
  $cuda_cmd --gpu "$ngpu" --show-output "$exp/log/train.log" "${launch[@]}" -m steps.train "${settings[@]}" --exp "$exp"
fi

if stage 5 "average" --in "$exp/checkpoints" --out "$exp/checkpoints/averaged.pt"; then
  $cuda_cmd --gpu "$((ngpu > 0))" "$exp/log/average.log" python3 -m steps.average_checkpoints "${settings[@]}" --exp "$exp"
fi

if stage 6 "separate" --in "$exp/checkpoints/averaged.pt" "$data/mixtures_${kinds[0]}_test" \
  --out "$exp/estimates_${kinds[0]}_test"; then
  for kind in "${kinds[@]}"; do
    options=()
    [[ -z $speaker_model ]] || options=("${voice_options[@]}" --plan "$data/plan_${kind}_test.jsonl.gz")
    $decode_cmd --num-threads 1 JOB=1:"$nj" "$exp/log/separate_$kind.JOB.log" python3 -m steps.separate_speech \
      --checkpoint "$exp/checkpoints/averaged.pt" "${options[@]}" --out "$exp/estimates_${kind}_test/JOB" \
      --job JOB --num-jobs "$nj" "$data/mixtures_${kind}_test/mix" "${changes[@]}"
  done
fi

if stage 7 "score" --in "$exp/estimates_${kinds[0]}_test" --out "$exp/results.json"; then
  for kind in "${kinds[@]}"; do
    $decode_cmd --num-threads 1 JOB=1:"$nj" "$exp/log/measure_$kind.JOB.log" python3 -m steps.measure_speech \
      --config "$exp/config.yaml" --plan "$data/plan_${kind}_test.jsonl.gz" --references "$data/mixtures_${kind}_test" \
      --estimates "$exp/estimates_${kind}_test" "${score_options[@]}" \
      --out "$exp/measures_${kind}_test/JOB" --job JOB --num-jobs "$nj"
  done
  python3 -m steps.score_speech --exp "$exp" --sets "${kinds[@]/%/_test}" --corpus "$name" --command "$stage_command"
fi

if stage 8 "export" --in "$exp/checkpoints/averaged.pt" --out "$exp/model.onnx"; then
  python3 -m steps.export_onnx --checkpoint "$exp/checkpoints/averaged.pt" --out "$exp/model.onnx" \
    --int8 "$exp/model.int8.onnx" --mixtures "$data/mixtures_${kinds[0]}_dev/mix"
fi

if stage 9 "report" --in "$exp/results.json" --out "$exp/report.html"; then
  python3 -m steps.report --exp "$exp" --out "$exp/report.html"
fi
