# Tests of what deploy.sh does in the cloud: key pair, security group, instance. Part of test.sh.
# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of test.sh

# --- the tests ------------------------------------------------------------------------------------

without_credentials_only_a_dry_run_is_possible() {
  unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
  expect 1 deploy create
  says 'AWS does not let you in' credentials
  expect 0 deploy all --dry-run --hours 2 -- --clients 2
  says 'No credentials' 'ec2 import-key-pair' 'ec2 create-security-group' 'ec2 run-instances' \
    '--instance-type m5a.xlarge' 'HttpTokens=required' 's/@HOURS@/2/' 'git archive' \
    'instance/install.sh' 'eval/sweep/run.sh --frontend ADDRESS:8080' '--clients 2' \
    'deploy.sh cache --dry-run --hours 2 --host ADDRESS' collect.sh
  [[ ! -e $work/state && $(sort -u calls) == 'sts get-caller-identity' ]] || die "$(cat calls)"
}

what_cannot_be_is_refused_before_anything_is_made() {
  expect 2 deploy begin
  expect 2 deploy create --cidr 203.0.113.300/32
  expect 2 deploy create --cidr 203.0.113.7
  expect 2 deploy create --name 'My Store'
  expect 2 deploy create --hours soon
  expect 2 deploy create now
  expect 2 deploy cache
  expect 2 deploy create --region
  expect 1 deploy create --type m5a.xxlarge
  says 'there is no m5a.xxlarge in us-east-1'
  expect 255 deploy create --region mars-north-1
  is "$(changes)" ''
  [[ ! -e state ]] || die 'it made a key'
}

create_makes_one_instance_as_it_should_be() {
  expect 0 deploy create --hours 3 --cidr 203.0.113.7/32
  is "$(instance_is State.Name InstanceType ImageId)" 'running m5a.xlarge ami-0d1300000000000a2'
  is "$(instance_is MetadataOptions.{HttpTokens,HttpPutResponseHopLimit})" 'required 1'
  is "$(instance_is KeyName 'NetworkInterfaces[0].Groups[0].GroupId')" "toystore-eval $(
    ask ec2 describe-security-groups --filters Name=group-name,Values=toystore-eval \
      --query 'SecurityGroups[].GroupId')"
  is "$(instance_is "Tags[?Key=='toystore-deployment'].Value|[0]" "Tags[?Key=='Name'].Value|[0]")" \
    'eval toystore-eval'
  is "$(ask ec2 describe-volumes --filters Name=tag:toystore-deployment,Values=eval --query \
    'Volumes[].[VolumeType, Size, Encrypted]')" 'gp3 20 True'
  is "$(instance_is RootDeviceName BlockDeviceMappings[0].{DeviceName,Ebs.DeleteOnTermination})" \
    '/dev/xvda /dev/xvda True'
  is "$(attribute instanceInitiatedShutdownBehavior)" terminate
  is "$(rules)" '22 22 tcp 203.0.113.7/32;8080 8080 tcp 203.0.113.7/32;'
  is "$(ask ec2 describe-key-pairs --include-public-key --query 'KeyPairs[0].PublicKey' |
    cut -d ' ' -f 1,2)" "$(cut -d ' ' -f 1,2 state/toystore/eval-us-east-1/key.pub)"
  is "$(stat -c %a state/toystore/eval-us-east-1{,/key} | xargs)" '700 600'
  user_data >user-data
  diff user-data <(sed 's/@HOURS@/3/' "$here/instance/bootstrap.sh")
  (($(wc -c <user-data) <= 16384)) || die 'longer than user data may be'
}

the_rules_for_templates_hold_for_what_was_made() {
  template >template.json
  expect 0 cfn-lint --regions us-east-1 --template template.json
  sed 's/m5a.xlarge/m5a.xxlarge/' template.json >wrong.json
  expect 2 cfn-lint --regions us-east-1 --template wrong.json
  says "'m5a.xxlarge' is not one of"
}

a_dry_run_over_what_exists_changes_nothing() {
  local before
  before=$(everything)
  : >calls
  expect 0 deploy all --dry-run --cidr 203.0.113.8/32
  says 'exists already' revoke-security-group-ingress terminate-instances delete-key-pair
  says_nothing_of run-instances create-security-group
  is "$(changes)" ''
  is "$(everything)" "$before"
}

a_second_create_finds_the_first_and_lets_in_the_new_address_only() {
  local first
  first=$(instance_is InstanceId)
  : >calls
  expect 0 deploy create --cidr 203.0.113.8/32
  says "$first exists already"
  is "$(instance_is InstanceId)" "$first"
  is "$(rules)" '22 22 tcp 203.0.113.8/32;8080 8080 tcp 203.0.113.8/32;'
  is "$(changes)" 'ec2 authorize-security-group-ingress ec2 revoke-security-group-ingress'
}

a_stopped_instance_is_started_again() {
  ask ec2 stop-instances --instance-ids "$(instance_is InstanceId)"
  expect 1 deploy status
  says 'is stopped'
  expect 0 deploy create --cidr 203.0.113.8/32
  is "$(instance_is State.Name)" running
}

status_tells_instance_cost_and_store() {
  echo '{"data":{"epoch":1}}' >answer
  expect 0 deploy status
  says "$(instance_is InstanceId) (m5a.xlarge, us-east-1) is running since" 'USD 0.0' '{"epoch":1}'
  rm answer
  expect 1 deploy status
  says 'the store does not answer'
}

an_instance_whose_key_is_elsewhere_is_left_as_it_is() {
  mv state elsewhere
  : >calls
  expect 1 deploy create --cidr 203.0.113.8/32
  says 'lets in another key' --key
  is "$(changes)" ''
  expect 0 deploy create --cidr 203.0.113.8/32 --key elsewhere/toystore/eval-us-east-1/key
  rm -r state
  mv elsewhere state
}

remove_takes_everything_of_this_deployment_and_nothing_else() {
  ask ec2 create-key-pair --key-name other --tag-specifications \
    'ResourceType=key-pair,Tags=[{Key=toystore-deployment,Value=other}]'
  ask ec2 create-security-group --group-name other --description other
  expect 0 deploy remove
  is "$(ask ec2 describe-instances --query 'Reservations[].Instances[].State.Name')" terminated
  is "$(ask ec2 describe-volumes --query 'Volumes[].VolumeId')" ''
  is "$(ask ec2 describe-key-pairs --query 'KeyPairs[].KeyName')" other
  is "$(ask ec2 describe-security-groups --query 'SecurityGroups[].GroupName' | tr ' ' '\n' | sort |
    xargs)" 'default other'
  [[ ! -e state/toystore/eval-us-east-1 ]] || die 'the key is still there'
  : >calls
  expect 0 deploy remove
  says 'there is nothing of "eval" in us-east-1'
  is "$(changes)" ''
  expect 1 deploy status
  says 'there is no instance of "eval"'
}

what_an_interrupted_create_leaves_is_taken_up_or_removed() {
  start_afresh
  FAIL=run-instances expect 255 deploy create --cidr 203.0.113.7/32
  : >calls
  expect 0 deploy create --cidr 203.0.113.7/32
  is "$(changes)" 'ec2 run-instances'
  expect 0 deploy remove
  FAIL=run-instances expect 1 deploy all --cidr 203.0.113.7/32
  says 'create failed; what there is costs money until deploy.sh remove has ended it'
  expect 0 deploy remove
  says 'deleting sg-' 'deleting toystore-eval'
  is "$(ask ec2 describe-key-pairs --query 'KeyPairs[].KeyName')" ''
  is "$(ask ec2 describe-security-groups --query 'SecurityGroups[].GroupName')" default
}

a_key_without_a_pair_is_imported_and_a_pair_without_its_key_replaced() {
  start_afresh
  ssh-keygen -q -t ed25519 -N '' -f mine
  FAIL=run-instances expect 255 deploy create --cidr 203.0.113.7/32 --key mine
  is "$(pair)" "$(cut -d ' ' -f 1,2 mine.pub)"
  FAIL=run-instances expect 255 deploy create --cidr 203.0.113.7/32
  says 'its private key is not at'
  is "$(pair)" "$(cut -d ' ' -f 1,2 state/toystore/eval-us-east-1/key.pub)"
  expect 1 deploy create --cidr 203.0.113.7/32 --key nowhere
  says 'there is no key at nowhere'
  ssh-keygen -q -t ed25519 -N secret -f locked
  expect 1 deploy create --cidr 203.0.113.7/32 --key locked
  says 'no private key without a passphrase'
  expect 0 deploy remove
  [[ -e mine ]] || die "the user's own key is gone"
}

only_the_address_of_this_machine_is_let_in_by_default() {
  start_afresh
  echo 198.51.100.9 >answer
  FAIL=run-instances expect 255 deploy create
  is "$(rules)" '22 22 tcp 198.51.100.9/32;8080 8080 tcp 198.51.100.9/32;'
  echo '<html>log in</html>' >answer
  expect 1 deploy create
  says 'cannot tell the address of this machine' --cidr
  is "$(rules)" '22 22 tcp 198.51.100.9/32;8080 8080 tcp 198.51.100.9/32;'
}

several_instances_of_one_name_are_refused_and_removed() {
  start_afresh
  for _ in 1 2; do
    ask ec2 run-instances --image-id ami-0d1300000000000a2 --instance-type m5a.xlarge \
      --tag-specifications 'ResourceType=instance,Tags=[{Key=toystore-deployment,Value=eval}]'
  done
  expect 1 deploy create --cidr 203.0.113.7/32
  says 'there are several instances'
  expect 0 deploy remove
  is "$(ask ec2 describe-instances --query 'Reservations[].Instances[].State.Name')" \
    'terminated terminated'
}

three_instances_are_made_in_three_zones_and_reach_each_other() {
  start_afresh
  expect 0 deploy create --shape three --cidr 203.0.113.7/32
  is "$(ask ec2 describe-instances --query "sort(Reservations[].Instances[].Tags[?$(
    )Key=='toystore-host' || Key=='Name'].Value[])")" '1 2 3 toystore-eval-1 toystore-eval-2 toystore-eval-3'
  is "$(ask ec2 describe-instances --query 'Reservations[].Instances[].InstanceType' | tr ' ' '\n' |
    sort | uniq -c | xargs)" '3 m5a.xlarge'
  is "$(ask ec2 describe-instances --query \
    'Reservations[].Instances[].Placement.AvailabilityZone' | tr ' ' '\n' | sort -u | wc -l)" 3
  # From outside as with one instance; and each from the others.
  is "$(rules)" "22 22 tcp 203.0.113.7/32;1024 65535 tcp None;8080 8080 tcp 203.0.113.7/32;"
  is "$(ask ec2 describe-security-group-rules --query \
    'SecurityGroupRules[?ReferencedGroupInfo].ReferencedGroupInfo.GroupId')" "$(
    ask ec2 describe-security-groups --filters Name=group-name,Values=toystore-eval \
      --query 'SecurityGroups[].GroupId')"
  template >template.json
  expect 0 cfn-lint --regions us-east-1 --template template.json
}

a_second_create_of_three_changes_nothing_and_the_shape_is_known() {
  : >calls
  expect 0 deploy create --cidr 203.0.113.7/32
  says 'exists already'
  is "$(changes)" ''
  expect 1 deploy create --shape one --cidr 203.0.113.7/32
  says 'not of the shape one'
  is "$(changes)" ''
}

a_dry_run_says_how_three_hosts_are_installed() {
  local before
  before=$(everything)
  : >calls
  expect 0 deploy install --dry-run
  is "$(grep -c 'git archive' <<<"$output")" 3
  says 'install.sh --build' 'sudo install'
  local number private
  private=$(for number in 1 2 3; do address_of_host "$number"; done | xargs)
  for number in 1 2 3; do says "three.sh install $(git -C "$repo" rev-parse HEAD) $number $private"; done
  expect 0 deploy cache off --dry-run
  is "$(grep -o 'three.sh [a-z ]*' <<<"$output" | uniq -c | xargs)" \
    '3 three.sh close 3 three.sh empty 3 three.sh cache off 3 three.sh open'
  expect 0 deploy fetch --dry-run --out fetched
  says fetched/host-1 fetched/host-3
  is "$(changes)" ''
  is "$(everything)" "$before"
}

a_host_that_is_gone_is_made_again_and_the_others_stay() {
  local gone kept
  gone=$(instance_of_host 2)
  kept=$(instance_of_host 1)
  ask ec2 terminate-instances --instance-ids "$gone"
  expect 1 deploy install --dry-run
  says 'host 2 is missing'
  : >calls
  expect 0 deploy create --cidr 203.0.113.7/32
  is "$(changes)" 'ec2 run-instances'
  is "$(instance_of_host 1)" "$kept"
  [[ $(instance_of_host 2) == i-* && $(instance_of_host 2) != "$gone" ]] || die 'host 2 is not there'
  expect 0 deploy remove
  is "$(ask ec2 describe-instances --query 'Reservations[].Instances[].State.Name' | tr ' ' '\n' |
    sort -u)" terminated
  is "$(ask ec2 describe-security-groups --query 'SecurityGroups[].GroupName')" default
}

# --- how they are written -------------------------------------------------------------------------

# The server that stands for AWS, with all the checks that it has; AWS's command line; and before
# both, in PATH, an `aws` that notes which calls are made and fails where a test wants it, and a
# `curl` that answers from a file.
set_up_cloud() {
  set_up_python "$tools" "$here/test/requirements.txt" || return 1
  mkdir "$work/bin"
  export PATH=$work/bin:$tools/bin:$PATH XDG_STATE_HOME=$work/state
  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_EC2_METADATA_DISABLED=true
  export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
  unset "${!DEPLOY_@}" AWS_CA_BUNDLE AWS_PROFILE AWS_DEFAULT_REGION AWS_REGION AWS_SESSION_TOKEN
  cat >"$work/bin/aws" <<TEXT
#!/bin/sh
# Called as: aws --region R --output text SERVICE VERB …
echo "\$5 \$6" >>'$work/calls'
[ "\$6" != "\${FAIL-}" ] || exit 255
exec '$tools/bin/python' -I -S '$here/test/aws.py' call '$work/aws' "\$@"
TEXT
  cat >"$work/bin/curl" <<TEXT
#!/bin/sh
exec cat '$work/answer'
TEXT
  chmod +x "$work"/bin/*
  start_server
}

start_server() {
  local port=$((20000 + RANDOM % 10000))
  export AWS_ENDPOINT_URL=http://127.0.0.1:$port
  MOTO_AMIS_PATH=$here/test/images.json MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION=1 \
    MOTO_ENABLE_KEYPAIR_VALIDATION=1 MOTO_ENABLE_AMI_VALIDATION=1 \
    "${within[@]}" "$tools/bin/moto_server" -H 127.0.0.1 -p "$port" >"$work/server.log" 2>&1 &
  servers+=($!)
  rm -f -- "$work/aws"
  "${within[@]}" "$tools/bin/python" "$here/test/aws.py" serve "$work/aws" \
    >>"$work/server.log" 2>&1 &
  servers+=($!)
  for _ in {1..600}; do
    ! ask sts get-caller-identity || return 0
    kill -0 "${servers[@]}" || break
    sleep 0.1
  done
  tail -n 1 "$work/server.log"
  return 1
}

tear_down_cloud() {
  ((${#servers[@]} == 0)) || { kill "${servers[@]}" && wait "${servers[@]}"; } 2>/dev/null || true
  servers=()
}

deploy() { "${within[@]}" "$here/deploy.sh" "$@"; }

# Asks AWS's command line, past the one that notes calls. One line, with spaces.
ask() { aws_as text "$@" | tr '\t\n' '  ' | sed 's/ *$//'; }

# The same as it comes.
aws_as() { # FORMAT ARGUMENT…
  "$tools/bin/python" -I -S "$here/test/aws.py" call "$work/aws" --region us-east-1 --output "$@"
}

instance_is() { # EXPRESSION…
  local IFS=,
  ask ec2 describe-instances --filters Name=tag:toystore-deployment,Values=eval \
    Name=instance-state-name,Values=running,stopped --query "Reservations[].Instances[].[$*]"
}

instance_of_host() { # HOST
  ask ec2 describe-instances --filters "Name=tag:toystore-host,Values=$1" \
    Name=instance-state-name,Values=running --query 'Reservations[].Instances[].InstanceId'
}

address_of_host() { # HOST
  ask ec2 describe-instances --filters "Name=tag:toystore-host,Values=$1" \
    Name=instance-state-name,Values=running --query 'Reservations[].Instances[].PrivateIpAddress'
  echo
}

rules() {
  aws_as text ec2 describe-security-group-rules \
    --query 'sort_by(SecurityGroupRules[?!IsEgress], &FromPort)[].[
      FromPort, ToPort, IpProtocol, CidrIpv4]' | tr '\t\n' ' ;'
}

pair() {
  ask ec2 describe-key-pairs --include-public-key --query 'KeyPairs[0].PublicKey' |
    cut -d ' ' -f 1,2
}

user_data() { attribute userData | base64 -d; }

attribute() { # NAME
  aws_as text ec2 describe-instance-attribute --instance-id "$(instance_is InstanceId)" \
    --attribute "$1" --query "${1^}.Value"
}

# The kinds of calls so far that change something.
changes() { grep -vE ' (describe-|get-|wait)' calls | sort -u | xargs || true; }

everything() {
  local kind
  for kind in instances volumes security-groups security-group-rules key-pairs; do
    aws_as json ec2 "describe-$kind"
  done
}

start_afresh() {
  "$tools/bin/python" -c 'import sys, urllib.request as u; u.urlopen(u.Request(sys.argv[1], b""))' \
    "$AWS_ENDPOINT_URL/moto-api/reset"
  rm -rf -- state answer
  : >calls
}

# What was made, as a template that cfn-lint can judge by the rules for it.
template() {
  local instance group inside
  instance=$(aws_as json ec2 describe-instances --query \
    'Reservations[].Instances[].{InstanceType: InstanceType, ImageId: ImageId, KeyName: KeyName,
      SubnetId: SubnetId, SecurityGroupIds: NetworkInterfaces[0].Groups[].GroupId, Tags: Tags,
      MetadataOptions: {HttpTokens: MetadataOptions.HttpTokens, HttpEndpoint:
        MetadataOptions.HttpEndpoint, HttpPutResponseHopLimit:
        MetadataOptions.HttpPutResponseHopLimit}} | [0]')
  group=$(aws_as json ec2 describe-security-groups \
    --filters Name=tag:toystore-deployment,Values=eval --query \
    'SecurityGroups[0].{GroupName: GroupName, GroupDescription: Description, VpcId: VpcId,
      SecurityGroupIngress: IpPermissions[?IpRanges].{IpProtocol: IpProtocol, FromPort: FromPort,
        ToPort: ToPort, CidrIp: IpRanges[0].CidrIp}}')
  inside=$(aws_as json ec2 describe-security-groups \
    --filters Name=tag:toystore-deployment,Values=eval --query \
    'SecurityGroups[0].IpPermissions[?UserIdGroupPairs] | [0].{IpProtocol: IpProtocol,
      FromPort: FromPort, ToPort: ToPort, GroupId: UserIdGroupPairs[0].GroupId,
      SourceSecurityGroupId: UserIdGroupPairs[0].GroupId}')
  printf '{"AWSTemplateFormatVersion": "2010-09-09", "Resources": {
    "Instance": {"Type": "AWS::EC2::Instance", "Properties": %s},
    "Group": {"Type": "AWS::EC2::SecurityGroup", "Properties": %s}%s}}' "$instance" "$group" "$(
    [[ $inside == null || -z $inside ]] ||
      printf ', "Inside": {"Type": "AWS::EC2::SecurityGroupIngress", "Properties": %s}' "$inside")"
}
