#!/usr/bin/env bash
# Puts the store on one EC2 instance or on three, measures it from here, and takes everything away
# again.
# `./deploy.sh help` lists the verbs; README.md beside this file has the steps and what they cost.
#
# What exists is found by its tags, never by a note on this machine; so every verb can be repeated,
# from another machine too, and goes on where an interrupted one stopped. Only the private key is
# kept here. In a dry run nothing is changed, there or here: look-ups run, and each command that
# would change something is printed instead.

# shellcheck disable=SC2034 # cloud.sh uses some of the variables
set -euo pipefail
unset CDPATH

here=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
repo=$(readlink -f -- "$here/../..")

# shellcheck source=/dev/null # checked on its own
source "$here/cloud.sh"

region=${DEPLOY_REGION:-us-east-1}
type=${DEPLOY_TYPE:-m5a.xlarge}
name=${DEPLOY_NAME:-eval}
cidr=${DEPLOY_CIDR:-}
key=${DEPLOY_KEY:-}
hours=${DEPLOY_HOURS:-4}
subnet=${DEPLOY_SUBNET:-}
shape=${DEPLOY_SHAPE:-}
host=${DEPLOY_HOST:-}
out=${DEPLOY_OUT:-}
executable=${DEPLOY_EXECUTABLE:-}
ssh_options=()
dry_run=
offline=         # a dry run without credentials: as if the account were empty
state=           # the folder for the key
instances=()     # by the number of their host: 0 where there is one only, else from 1 on
subnets=()       # that they may be in
addresses=()     # by which they are reached from here, in the order of their hosts
options=()       # as given
arguments=()     # of the verb, or for the sweep

readonly LOGIN=admin               # the user of Debian's images
readonly SSH_SECONDS=300           # an instance answers some 30 s after its start
readonly READY_SECONDS=60
readonly PACK=eval/deploy/instance # where the scripts for the instances are, in what is sent

usage() {
  cat <<'TEXT'
Puts the store on EC2 instances, measures it from here, and removes everything. The shape `one` is an
instance with every role, on SQLite. The shape `three` is three instances in three zones, each with a
front-end, a catalog, a replica, PostgreSQL, Patroni and etcd.

  ./deploy.sh create     key pair, security group and instances, as far as they are missing
  ./deploy.sh install    build the committed source on the (first) instance and start the store
  ./deploy.sh status     the instances and the store; exit status 0 if the store is ready, else 1
  ./deploy.sh cache on   set the front-ends' cache (or: off) and start the store afresh
  ./deploy.sh sweep      run ../sweep from here against the (first) instance; what follows -- goes to it
  ./deploy.sh fetch      databases, logs and facts about the machines
  ./deploy.sh remove     all that was created, also by a create that was interrupted
  ./deploy.sh all        create, install, sweep, fetch and, if all went well, remove
  ./deploy.sh help       this text

  --dry-run          print what would be done; works without credentials too
  --shape one|three                                            [DEPLOY_SHAPE: one, or what there is]
  --name NAME        which deployment, if there are several    [DEPLOY_NAME: eval]
  --region REGION                                              [DEPLOY_REGION: us-east-1]
  --type TYPE        the instance's type, x86                  [DEPLOY_TYPE: m5a.xlarge]
  --cidr A.B.C.D/N   who may connect                           [DEPLOY_CIDR: this machine's address]
  --key FILE         a private key to use                      [DEPLOY_KEY: one made by create]
  --hours N          the instance ends itself then; 0: never   [DEPLOY_HOURS: 4]
  --subnet ID        where there is no default network         [DEPLOY_SUBNET: a default one]
  --host HOST        how to reach it, if not by its public address   [DEPLOY_HOST]
  --ssh-option OPT   for ssh, such as ProxyJump=bastion; repeatable
  --executable FILE  for shape three: to install instead of building       [DEPLOY_EXECUTABLE]
  --out FOLDER       where fetch writes                        [DEPLOY_OUT: data/NAME beside this]

The credentials are those of the AWS CLI: its environment, profile or role.
TEXT
}

main() {
  local verb=${1-help}
  (($# == 0)) || shift
  case $verb in
    create | install | status | cache | sweep | fetch | remove | all) ;;
    help | -h | --help) usage && return 0 ;;
    *) fail "there is no verb $verb; try deploy.sh help" 2 ;;
  esac
  read_options "$@"
  check_options "$verb"
  need aws 'pip install awscli'
  check_credentials
  exec 3>&1
  "$verb"
}

read_options() {
  while (($# > 0)); do
    case $1 in
      --dry-run) dry_run=1 && options+=("$1") ;;
      --) shift && arguments+=("$@") && return 0 ;;
      --shape | --name | --region | --type | --cidr | --key | --hours | --subnet | --host | \
        --out | --executable | --ssh-option)
        (($# > 1)) || fail "$1 needs a value" 2
        set_option "$1" "$2"
        options+=("$1" "$2")
        shift
        ;;
      -*) fail "there is no option $1; try deploy.sh help" 2 ;;
      *) arguments+=("$1") ;;
    esac
    shift
  done
}

set_option() { # OPTION VALUE
  case $1 in
    --ssh-option) ssh_options+=(-o "$2") ;;
    *) printf -v "${1#--}" %s "$2" ;;
  esac
}

check_options() { # VERB
  [[ $name =~ ^[a-z0-9][a-z0-9-]{0,39}$ ]] ||
    fail "the name \"$name\" will not do; use up to 40 lower-case letters, digits and hyphens" 2
  [[ $shape =~ ^(one|three)?$ ]] || fail "there is no shape $shape; it is one or three" 2
  [[ -z $executable || -x $executable ]] || fail "$executable cannot be executed" 2
  [[ $shape != three || -z $host ]] || fail '--host names one host, not three' 2
  [[ $hours =~ ^[0-9]{1,4}$ ]] || fail "--hours $hours is no number of hours" 2
  [[ -z $cidr ]] || is_cidr "$cidr" || fail "--cidr $cidr is not of the form 203.0.113.7/32" 2
  case $1:${arguments[*]} in
    sweep:* | all:* | cache:on | cache:off) ;;
    cache:*) fail 'cache takes on or off' 2 ;;
    *: ) ;;
    *) fail "$1 takes no arguments, but was given: ${arguments[*]}" 2 ;;
  esac
  state=${XDG_STATE_HOME:-$HOME/.local/state}/toystore/$name-$region
  out=${out:-$here/data/$name}
}

is_cidr() { # TEXT
  local part parts
  [[ $1 =~ ^([0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,2}$ ]] || return 1
  IFS=./ read -ra parts <<<"$1"
  for part in "${parts[@]:0:4}"; do ((10#$part <= 255)) || return 1; done
  ((10#${parts[4]} <= 32))
}

check_credentials() {
  local said
  said=$(cloud sts get-caller-identity --query Account 2>&1) && return 0
  [[ -n $dry_run ]] || fail "AWS does not let you in: $said"
  say 'No credentials: this is what would be done in an account where nothing exists yet.'
  offline=1
}

# --- the verbs ------------------------------------------------------------------------------------

create() {
  local instance group network number
  find_instance
  shape=${shape:-one}
  choose_subnets
  [[ -n $cidr ]] || find_own_address
  make_state
  ensure_key
  ensure_group
  for number in $(hosts); do
    if [[ -n ${instances[number]-} ]]; then
      say "instance ${instances[number]} exists already"
      wake_instance "${instances[number]}"
    else
      run_instance "$number"
    fi
  done
  change cloud ec2 wait instance-running --instance-ids "${instances[@]}"
  for number in $(hosts); do
    say "instance ${instances[number]} runs at $(address_of "${instances[number]}")"
  done
  say 'next: deploy.sh install'
}

install() {
  local commit
  commit=$(git -C "$repo" rev-parse HEAD)
  [[ -z $(git -C "$repo" status --porcelain) ]] ||
    complain "what is not committed is not installed; this is commit ${commit:0:12}"
  find_hosts
  on_each prepare "$commit"
  if [[ $shape == three ]]; then
    install_three "$commit"
  else
    change remote "sudo toystore/$PACK/install.sh $commit"
  fi
  await_stores
}

# Waits for a host's first boot, and sends it the source.
prepare() { # HOST COMMIT
  wait_for_ssh
  # 2 is a warning of cloud-init's about something that did no harm.
  change remote 'sudo cloud-init status --wait >/dev/null || [ $? = 2 ]' ||
    fail 'the first boot failed; see /var/log/cloud-init-output.log on the instance'
  say "sending commit ${2:0:12}"
  send_source
}

# The first host builds for all, and makes the secrets, which do not stay here.
install_three() { # COMMIT
  local number private=() secrets=SECRETS
  for number in $(hosts); do private+=("$(private_address_of "${instances[number]}")"); done
  host=${addresses[0]}
  if [[ -n $executable ]]; then
    change send_executable
  else
    change remote "sudo toystore/$PACK/install.sh --build"
  fi
  for host in "${addresses[@]:1}"; do pass_executable "${addresses[0]}"; done
  host=${addresses[0]}
  [[ -n $dry_run ]] || secrets=$(remote "sudo toystore/$PACK/three.sh secrets")
  on_each install_host "$1" "$secrets" "${private[@]}"
}

send_executable() {
  gzip -c -- "$executable" | remote 'gunzip | sudo install -m 755 /dev/stdin /usr/local/bin/toystore'
}

pass_executable() { # FROM
  local to=$host
  if [[ -n $dry_run ]]; then
    printf 'would run: ssh %s@%s cat toystore | ssh %s@%s sudo install\n' "$LOGIN" "$1" "$LOGIN" "$to"
    return
  fi
  host=$1
  remote 'gzip -c /usr/local/bin/toystore' | {
    host=$to
    remote 'gunzip | sudo install -m 755 /dev/stdin /usr/local/bin/toystore'
  }
  host=$to
}

install_host() { # HOST COMMIT SECRETS ADDRESS…
  change remote "sudo toystore/$PACK/three.sh install $2 $1 ${*:4}" <<<"$3"
}

status() {
  local instance number launched kind state_now running=1 ready=1
  find_instance
  [[ -n $instance ]] || fail "there is no instance of \"$name\" in $region; try deploy.sh create"
  for number in "${!instances[@]}"; do
    read -r state_now kind launched < <(look ec2 describe-instances \
      --instance-ids "${instances[number]}" \
      --query 'Reservations[0].Instances[0].[State.Name, InstanceType, LaunchTime]')
    say "${instances[number]} ($kind, $region) is $state_now since $launched$(
      cost_since "$launched" "$kind")"
    [[ $state_now == running ]] || running=
  done
  [[ -n $running ]] || return 1
  find_hosts
  for host in "${addresses[@]}"; do
    ask cluster || fail "the store does not answer at http://$host:8080/"
    say ''
    ask readyz >/dev/null || ready=
  done
  [[ -n $ready ]] || fail 'the store is not ready'
}

cache() {
  local step
  find_hosts
  if [[ $shape == three ]]; then
    for step in close empty "cache ${arguments[0]}" open; do on_each three "$step"; done
  else
    change remote "sudo toystore/$PACK/install.sh --cache ${arguments[0]}"
  fi
  await_stores
}

three() { change remote "sudo toystore/$PACK/three.sh $2"; } # HOST STEP

sweep() {
  local run=$repo/eval/sweep/run.sh given=()
  find_hosts
  host=${addresses[0]}
  [[ -n $dry_run || -x $run ]] || fail "there is no $run"
  await_stores
  host=${addresses[0]}
  [[ $shape == three ]] || given=(--host "$host")
  # The sweep cannot restart a front-end elsewhere: it calls this command, with on or off.
  change env SWEEP_SET_CACHE="$(quoted "$here/deploy.sh" cache "${options[@]}" "${given[@]}")" \
    "$run" --frontend "$host:8080" --label aws "${arguments[@]}"
}

fetch() {
  find_hosts
  on_each fetch_host
  say "fetched into $out"
}

# Of three hosts each has a folder.
fetch_host() { # HOST
  local into=$out
  (($1 == 0)) || into=$out/host-$1
  change mkdir -p -- "$into"
  change_file "$into/fetched.tar.gz" remote "sudo toystore/$PACK/collect.sh"
  change tar -xzf "$into/fetched.tar.gz" -C "$into"
  change rm -- "$into/fetched.tar.gz"
}

remove() {
  local instances groups pairs volumes found=
  list instances ec2 describe-instances --filters "$(of_deployment)" "$(in_state \
    pending running stopping stopped shutting-down)" \
    --query 'Reservations[].Instances[].InstanceId'
  if ((${#instances[@]} > 0)); then
    found=1
    say "terminating ${instances[*]}"
    change cloud ec2 terminate-instances --instance-ids "${instances[@]}" >/dev/null
    change cloud ec2 wait instance-terminated --instance-ids "${instances[@]}"
  fi
  # Volumes go with their instance; one that does not would cost money silently.
  list volumes ec2 describe-volumes --filters "$(of_deployment)" Name=status,Values=available \
    --query 'Volumes[].VolumeId'
  remove_each delete-volume --volume-id "${volumes[@]}"
  list groups ec2 describe-security-groups --filters "$(of_deployment)" \
    --query 'SecurityGroups[].GroupId'
  remove_each delete-security-group --group-id "${groups[@]}"
  list pairs ec2 describe-key-pairs --filters "$(of_deployment)" --query 'KeyPairs[].KeyName'
  remove_each delete-key-pair --key-name "${pairs[@]}"
  if [[ -e $state ]]; then
    found=1
    say "deleting $state"
    change rm -rf -- "$state"
  fi
  [[ -n $found ]] || say "there is nothing of \"$name\" in $region"
}

all() {
  local step
  for step in create install sweep fetch remove; do
    say "== $step"
    set --
    [[ $step != sweep ]] || set -- -- "${arguments[@]}"
    # In a process of its own: within a condition, bash would run on after a failure.
    "$here/deploy.sh" "$step" "${options[@]}" "$@" ||
      fail "$step failed; what there is costs money until deploy.sh remove has ended it"
  done
}

# --- the instance ---------------------------------------------------------------------------------

key_file() { printf %s "${key:-$state/key}"; }

make_state() {
  [[ ! -d $state ]] || return 0
  change mkdir -p -- "$state"
  change chmod 700 -- "$state"
}

# Sets `addresses` and `shape`; and `host`, if there is one only.
find_hosts() {
  local instance number
  if [[ -n $host ]]; then
    shape=one addresses=("$host") instances=(INSTANCE)
    return
  fi
  find_instance
  shape=${shape:-one}
  [[ -n $instance || -n $dry_run ]] ||
    fail "there is no instance of \"$name\" in $region; try deploy.sh create"
  addresses=()
  for number in $(hosts); do
    [[ -n ${instances[number]-} || -z $instance ]] ||
      fail "host $number is missing; try deploy.sh create"
    instances[number]=${instances[number]-INSTANCE}
    if [[ ${instances[number]} == INSTANCE ]]; then
      addresses+=(ADDRESS)
    else
      addresses+=("$(address_of "${instances[number]}")") ||
        fail "${instances[number]} has no public address; name it with --host"
    fi
  done
  [[ $shape == three ]] || host=${addresses[0]}
}

# Does something at every host, with `host` set to its address: at all of them at once, as what is
# installed on one waits for the others.
on_each() { # FUNCTION [ARGUMENT]…, called with the host's number before the arguments
  local number index=0 process failed='' processes=()
  for number in $(hosts); do
    host=${addresses[index]}
    index=$((index + 1))
    if [[ -n $dry_run || $shape == one ]]; then
      "$1" "$number" "${@:2}"
      continue
    fi
    # Not in a condition, where bash would go on after a failure.
    ("$1" "$number" "${@:2}") &
    processes+=($!)
  done
  for process in "${processes[@]}"; do wait "$process" || failed=1; done
  [[ -z $failed ]] || fail "that failed at one of the hosts ${addresses[*]}"
}

# The host's key is taken on trust at the first connection and insisted on afterwards.
remote() {
  ssh -i "$(key_file)" -o BatchMode=yes -o IdentitiesOnly=yes -o ConnectTimeout=10 \
    -o ServerAliveInterval=15 -o StrictHostKeyChecking=accept-new \
    -o "UserKnownHostsFile=$state/known_hosts" "${ssh_options[@]}" "$LOGIN@$host" "$@"
}

wait_for_ssh() {
  local end=$((SECONDS + SSH_SECONDS)) said
  [[ -z $dry_run ]] || return 0
  make_state
  until said=$(remote true 2>&1); do
    ((SECONDS < end)) || fail "the instance does not let us in: $said"
    sleep 3
  done
}

# The folder is made anew, so that nothing of another commit stays; what was built is elsewhere.
send_source() {
  if [[ -n $dry_run ]]; then
    printf 'would run: git archive HEAD | ssh %s@%s tar -x\n' "$LOGIN" "$host"
    return
  fi
  git -C "$repo" archive --format=tar HEAD | gzip |
    remote 'rm -rf toystore && mkdir toystore && tar -xzf - -C toystore'
}

ask() { curl -fsS --max-time 5 "http://$host:8080/$1"; } # PATH

await_stores() {
  for host in "${addresses[@]}"; do await_store; done
}

await_store() {
  local end=$((SECONDS + READY_SECONDS))
  [[ -z $dry_run ]] || return 0
  until ask readyz >/dev/null 2>&1; do
    ((SECONDS < end)) || fail "http://$host:8080/ does not answer; try --cidr if you have moved"
    sleep 1
  done
  say "the store is open at http://$host:8080/"
}

# --- what is done ---------------------------------------------------------------------------------

# Runs a command that changes something, or prints it. Also where its output is taken.
change() {
  if [[ -z $dry_run ]]; then
    "$@"
    return
  fi
  case $1 in
    cloud) set -- aws --region "$region" "${@:2}" ;;
    remote) set -- ssh "${ssh_options[@]}" "$LOGIN@$host" "${@:2}" ;;
  esac
  printf 'would run: %s\n' "$(quoted "$@")" >&3
}

# The same for a command whose output is to be a file.
change_file() { # FILE COMMAND…
  if [[ -z $dry_run ]]; then
    "${@:2}" >"$1"
  else
    [[ $2 != remote ]] || set -- "$1" ssh "${ssh_options[@]}" "$LOGIN@$host" "${@:3}"
    printf 'would run: %s >%s\n' "$(quoted "${@:2}")" "$(quoted "$1")" >&3
  fi
}

quoted() {
  local word line=
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_./:=,@%+~-]+$ ]] || word=${word@Q}
    line+="$word "
  done
  printf %s "${line% }"
}

# --- the rest -------------------------------------------------------------------------------------

say() { printf '%s\n' "$@"; }

complain() { printf 'deploy.sh: %s\n' "$*" >&2; }

fail() { # MESSAGE [STATUS]
  complain "$1"
  exit "${2:-1}"
}

need() { # COMMAND HINT
  command -v "$1" >/dev/null || fail "$1 is missing; get it with: $2"
}

main "$@"
