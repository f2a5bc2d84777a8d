# What is in the cloud: key pair, security group, instance. Part of deploy.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables of deploy.sh

readonly DEBIAN_OWNER=136693071363 # the Debian project's account
readonly IMAGES='debian-13-amd64-20*' # the releases, by date; not the daily builds
readonly PORTS=(22 8080) # ssh and the front-end; all else stays closed
readonly DISK_GB=20 # a build takes 2 GB, a long run's databases some 100 MB
readonly DELETE_TRIES=12
readonly DELETE_PAUSE_SECONDS=5
readonly PRICED='us-east-1 m5a.xlarge'
readonly CENTS_PER_HOUR=18 # instance, disk and address: README.md

cloud() { AWS_PAGER='' aws --region "$region" --output text "$@"; }

# A look-up. In a dry run without credentials nothing is there.
look() { [[ -n $offline ]] || cloud "$@"; }

# Looks up a list of ids.
list() { # VARIABLE ARGUMENT…
  local ids
  ids=$(look "${@:2}")
  read -ra "$1" <<<"${ids//[$'\t\n']/ }"
}

of_deployment() { printf 'Name=tag:toystore-deployment,Values=%s' "$name"; }

in_state() { # STATE…
  local IFS=,
  printf 'Name=instance-state-name,Values=%s' "$*"
}

tags_for() { # RESOURCE [HOST]
  local host_name='' more=''
  if ((${2:-0} > 0)); then
    host_name=-$2
    more=",{Key=toystore-host,Value=$2}"
  fi
  printf 'ResourceType=%s,Tags=[{Key=Name,Value=toystore-%s},{Key=Project,Value=toystore},%s]' \
    "$1" "$name$host_name" "{Key=toystore-deployment,Value=$name}$more"
}

# Sets `instance`, to nothing if there is none; `instances`, by host; and `shape`, if it is known.
find_instance() {
  local found id number
  instances=()
  found=$(look ec2 describe-instances --filters "$(of_deployment)" \
    "$(in_state pending running stopping stopped)" \
    --query "Reservations[].Instances[].[InstanceId, Tags[?Key=='toystore-host'].Value | [0]]")
  while read -r id number; do
    [[ -n $id ]] || continue
    [[ $number != None ]] || number=0
    [[ -z ${instances[number]-} ]] ||
      fail "there are several instances of \"$name\": $(awk '{ printf "%s%s", NR > 1 ? " " : "", $1 }' \
        <<<"$found"); try deploy.sh remove"
    instances[number]=$id
  done <<<"$found"
  if ((${#instances[@]} > 0)); then
    found=three
    [[ -z ${instances[0]-} ]] || found=one
    [[ ${shape:-$found} == "$found" && ${#instances[@]} -le $(hosts_of $found) ]] ||
      fail "what there is of \"$name\" is not of the shape $shape; remove it first, or use another --name"
    shape=$found
  fi
  set -- "${instances[@]}"
  instance=${1-}
}

# How many instances a shape has.
hosts_of() { # SHAPE
  if [[ $1 == three ]]; then echo 3; else echo 1; fi
}

# The numbers of the hosts: 0 where there is one only.
hosts() { if [[ $shape == three ]]; then echo 1 2 3; else echo 0; fi; }

# The instance lets in who has the private key. It stays on this machine: EC2 gets the public half.
ensure_key() {
  local pair=toystore-$name here_key='' there_key
  there_key=$(look ec2 describe-key-pairs --filters "$(of_deployment)" --include-public-key \
    --query "KeyPairs[?KeyName=='$pair'] | [0].PublicKey" | cut -d ' ' -f 1,2)
  [[ $there_key != None ]] || there_key=
  [[ ! -e $(key_file) ]] || here_key=$(ssh-keygen -y -P '' -f "$(key_file)" | cut -d ' ' -f 1,2) ||
    fail "$(key_file) is no private key without a passphrase"
  [[ -n $here_key && $here_key == "$there_key" ]] && return 0
  if [[ -n $instance && -n $there_key ]]; then
    fail "$instance lets in another key than $(key_file); name its key with --key, or remove it"
  fi
  if [[ -n $there_key ]]; then
    say "the key pair $pair is of no use here: its private key is not at $(key_file)"
    change cloud ec2 delete-key-pair --key-name "$pair" >/dev/null
  fi
  if [[ -z $here_key ]]; then
    [[ -z $key ]] || fail "there is no key at $key"
    change ssh-keygen -q -t ed25519 -N '' -C "$pair" -f "$(key_file)"
  fi
  say "importing the key pair $pair"
  change_file "$state/pair.pub" ssh-keygen -y -P '' -f "$(key_file)"
  change cloud ec2 import-key-pair --key-name "$pair" \
    --public-key-material "fileb://$state/pair.pub" \
    --tag-specifications "$(tags_for key-pair)" >/dev/null
}

# Sets `group`. Lets in `cidr` alone, and removes other addresses that an earlier create let in.
ensure_group() {
  local rules port source
  group=$(look ec2 describe-security-groups --filters "$(of_deployment)" \
    "Name=vpc-id,Values=$network" --query 'SecurityGroups[0].GroupId')
  if [[ -z $group || $group == None ]]; then
    say "creating the security group toystore-$name"
    group=$(change cloud ec2 create-security-group --group-name "toystore-$name" \
      --description 'ssh and the front-end of a toystore' --vpc-id "$network" \
      --tag-specifications "$(tags_for security-group)" --query GroupId)
    group=${group:-SECURITY-GROUP}
  fi
  rules=$(look ec2 describe-security-group-rules --filters "Name=group-id,Values=$group" \
    --query 'SecurityGroupRules[?!IsEgress && CidrIpv4].[FromPort, CidrIpv4]' | sed 's/\t/ /')
  while read -r port source; do
    [[ -n $port && $source != "$cidr" ]] || continue
    change cloud ec2 revoke-security-group-ingress --group-id "$group" --protocol tcp \
      --port "$port" --cidr "$source" >/dev/null
  done <<<"$rules"
  for port in "${PORTS[@]}"; do
    ! grep -qxF -- "$port $cidr" <<<"$rules" || continue
    change cloud ec2 authorize-security-group-ingress --group-id "$group" --protocol tcp \
      --port "$port" --cidr "$cidr" >/dev/null
  done
  say "ports ${PORTS[*]} are open to $cidr"
  [[ $shape != three ]] || let_hosts_in
}

# The hosts reach each other, by their private addresses: etcd, Patroni, PostgreSQL and the roles.
let_hosts_in() {
  local there
  there=$(look ec2 describe-security-group-rules --filters "Name=group-id,Values=$group" \
    --query 'SecurityGroupRules[?!IsEgress && ReferencedGroupInfo].ReferencedGroupInfo.GroupId')
  [[ $there != "$group" ]] || return 0
  change cloud ec2 authorize-security-group-ingress --group-id "$group" --protocol tcp \
    --port 1024-65535 --source-group "$group" >/dev/null
}

# Sets `subnets` and `network`. Not every zone has every type: us-east-1e has no m5a. Three hosts are
# in three zones, if there are as many.
choose_subnets() {
  local zones found id
  subnets=("$subnet")
  if [[ -n $subnet ]]; then
    network=$(look ec2 describe-subnets --subnet-ids "$subnet" --query 'Subnets[0].VpcId')
  elif [[ -n $offline ]]; then
    subnets=(SUBNET)
  else
    zones=$(look ec2 describe-instance-type-offerings --location-type availability-zone \
      --filters "Name=instance-type,Values=$type" --query 'InstanceTypeOfferings[].Location')
    [[ -n $zones ]] || fail "there is no $type in $region"
    found=$(look ec2 describe-subnets --filters Name=default-for-az,Values=true \
      "Name=availability-zone,Values=${zones//[[:space:]]/,}" \
      --query 'sort_by(Subnets, &AvailabilityZone)[].[SubnetId, VpcId]')
    subnets=()
    while read -r id network; do [[ -z $id ]] || subnets+=("$id"); done <<<"$found"
    ((${#subnets[@]} > 0)) || fail "$region has no default network with $type; name a --subnet"
    network=$(awk 'NR == 1 { print $2 }' <<<"$found")
  fi
  network=${network:-VPC}
}

find_own_address() {
  if [[ -n $offline ]]; then
    cidr=YOUR-ADDRESS/32
    return
  fi
  need curl 'apt-get install curl'
  cidr=$(curl -4 -fsS --max-time 10 https://checkip.amazonaws.com || true)/32
  is_cidr "$cidr" || fail 'cannot tell the address of this machine; say with --cidr who may connect'
}

run_instance() { # HOST
  local image device id
  subnet=${subnets[($1 > 0 ? $1 - 1 : 0) % ${#subnets[@]}]}
  read -r image device < <(look ec2 describe-images --owners "$DEBIAN_OWNER" \
    --filters "Name=name,Values=$IMAGES" Name=state,Values=available \
    --query 'sort_by(Images, &CreationDate)[-1].[ImageId, RootDeviceName]') || true
  [[ -n $offline || $image == ami-* ]] || fail "there is no image $IMAGES of Debian's in $region"
  change_file "$state/user-data" sed "s/@HOURS@/$hours/" "$here/instance/bootstrap.sh"
  say "starting an instance from ${image:-IMAGE}"
  id=$(change cloud ec2 run-instances --image-id "${image:-IMAGE}" --instance-type "$type" \
    --key-name "toystore-$name" --security-group-ids "$group" --subnet-id "$subnet" \
    --associate-public-ip-address --count 1 --user-data "file://$state/user-data" \
    --instance-initiated-shutdown-behavior terminate \
    --metadata-options HttpEndpoint=enabled,HttpTokens=required,HttpPutResponseHopLimit=1 \
    --block-device-mappings "DeviceName=${device:-/dev/xvda},Ebs={VolumeSize=$DISK_GB,$(
    )VolumeType=gp3,Encrypted=true,DeleteOnTermination=true}" \
    --tag-specifications "$(tags_for instance "$1")" "$(tags_for volume "$1")" \
    --query 'Instances[0].InstanceId')
  instances[$1]=${id:-INSTANCE}
}

# A stopped instance is started; one that is about to stop is waited for first.
wake_instance() { # INSTANCE
  local now
  now=$(look ec2 describe-instances --instance-ids "$1" \
    --query 'Reservations[0].Instances[0].State.Name')
  [[ $now != stopping ]] || change cloud ec2 wait instance-stopped --instance-ids "$1"
  [[ $now != stop* ]] || change cloud ec2 start-instances --instance-ids "$1" >/dev/null
}

address_of() { # INSTANCE
  local address=''
  [[ $1 == INSTANCE ]] || address=$(look ec2 describe-instances --instance-ids "$1" \
    --query 'Reservations[0].Instances[0].PublicIpAddress')
  [[ $address != None ]] && printf %s "${host:-${address:-ADDRESS}}"
}

# By which the hosts reach each other.
private_address_of() { # INSTANCE
  local address=''
  [[ $1 == INSTANCE ]] || address=$(look ec2 describe-instances --instance-ids "$1" \
    --query 'Reservations[0].Instances[0].PrivateIpAddress')
  printf %s "${address:-PRIVATE-ADDRESS}"
}

# Runs a deletion once per id. A network interface may outlive its instance for some seconds, and
# a security group cannot go before it; so a deletion that is refused is tried again.
remove_each() { # VERB OPTION [ID]…
  local id tries
  for id in "${@:3}"; do
    found=1
    say "deleting $id"
    for ((tries = 1; ; tries++)); do
      ! change cloud ec2 "$1" "$2" "$id" >/dev/null || break
      ((tries < DELETE_TRIES)) || fail "$id cannot be deleted"
      sleep "$DELETE_PAUSE_SECONDS"
    done
  done
}

cost_since() { # TIME TYPE
  local seconds
  [[ "$region $2" == "$PRICED" ]] || return 0
  seconds=$(($(date +%s) - $(date -d "$1" +%s)))
  awk -v s="$seconds" -v c="$CENTS_PER_HOUR" \
    'BEGIN { printf ", so far some USD %.2f", s / 3600 * c / 100 }'
}
