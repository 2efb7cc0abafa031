"""Creates the stack in a local AWS emulator (ministack) and compares it with the promises of docs/DEPLOY.md.

    python deploy/emulator.py                                    the stack only
    ALLEYCAT=target/debug/alleycat python deploy/emulator.py     also: moto's Firehose delivers to that program

Everything listens on 127.0.0.1. The emulators check no permissions, start no tasks and issue no certificates. So this
shows only that the template is well-formed, that its references resolve, and how its buckets and streams are set.
"""

import base64
import contextlib
import gzip
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import boto3
import yaml
from botocore.config import Config

HERE = pathlib.Path(__file__).resolve().parent
REGION = "eu-west-1"
START_MAX_SECONDS = 20
KEEP_ALIVE_SECONDS = 75  # of the service: SECURITY.md


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(command, ready_url, **env):
    """Runs a process: waits until its URL responds, and terminates it at the end."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env={**os.environ, **env}, stdout=log, stderr=log)
        try:
            until = time.monotonic() + START_MAX_SECONDS
            while True:
                if process.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    sys.exit(f"{command[0]} did not start:\n{log.read().decode()}")
                try:
                    urllib.request.urlopen(ready_url, timeout=1).close()
                    break
                except (urllib.error.URLError, OSError):
                    time.sleep(0.05)
            yield
        finally:
            process.terminate()
            process.wait(15)


def create_stack(aws, name, **more):
    ec2 = aws("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"{REGION}{zone}")
        for n, zone in enumerate("ab")
    ]
    subnets = [made["Subnet"]["SubnetId"] for made in subnets]
    given = {
        "ImageUri": "example.invalid/alleycat:0.1.0",
        "DomainName": "races.example.invalid",
        "CertificateArn": aws("acm").request_certificate(DomainName="races.example.invalid")["CertificateArn"],
        "VpcId": vpc,
        "LoadBalancerSubnetIds": ",".join(subnets),
        "ServiceSubnetIds": ",".join(subnets),
        "AlarmEmail": "operator@example.invalid",
        **more,
    }
    cloudformation = aws("cloudformation")
    cloudformation.create_stack(
        StackName=name,
        # The emulator has no engine to start tasks, and it reads the number as text.
        TemplateBody=re.sub("DesiredCount: !Ref \\w+", "DesiredCount: 0", (HERE / "cloudformation.yaml").read_text()),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": START_MAX_SECONDS})
    stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    assert stack["StackStatus"] == "CREATE_COMPLETE", stack["StackStatus"]
    resources = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
    # The emulator lists some resources without an id.
    return {r["LogicalResourceId"]: r.get("PhysicalResourceId") for r in resources if "LogicalResourceId" in r}


class Template(yaml.SafeLoader):
    """Reads CloudFormation's short forms (`!Ref X`) as their plain values."""


Template.add_multi_constructor("!", lambda loader, _, node: (
    loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode)
    else loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode)
    else loader.construct_mapping(node, deep=True)))


def check_template():
    """Checks the template itself, because the emulator ignores most of these properties."""
    resources = yaml.load((HERE / "cloudformation.yaml").read_text(), Template)["Resources"]
    bucket = resources["HistoryBucket"]
    assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain"
    history = bucket["Properties"]
    prefixes = [rule.get("Prefix") for rule in history["LifecycleConfiguration"]["Rules"]]
    assert prefixes == ["${StorePrefix}processing-failed/"], f"a lifecycle rule of the history touches {prefixes}"
    assert "VersioningConfiguration" not in history, "the history bucket is versioned"
    assert list(history["PublicAccessBlockConfiguration"].values()) == [True] * 4
    assert "aws:SecureTransport" in json.dumps(resources["HistoryBucketPolicy"])
    backup = resources["BackupBucket"]
    assert backup["DeletionPolicy"] == backup["UpdateReplacePolicy"] == "Retain"
    kept = backup["Properties"]
    assert list(kept["PublicAccessBlockConfiguration"].values()) == [True] * 4
    assert "SSEAlgorithm" in json.dumps(kept["BucketEncryption"])
    assert "BackupDays" in [rule.get("ExpirationInDays") for rule in kept["LifecycleConfiguration"]["Rules"]]
    assert "aws:SecureTransport" in json.dumps(resources["BackupBucketPolicy"])
    paths = resources["WriterPaths"]["Properties"]["Conditions"][0]["PathPatternConfig"]["Values"]
    assert paths == ["/firehose", "/firehose/*", "/events", "/erasures"], paths  # the router's keys Access and Admin
    reader = resources["ReadTaskDefinition"]["Properties"]["ContainerDefinitions"][0]
    assert {"Name": "ALLEYCAT_READ_ONLY", "Value": "true"} in reader["Environment"] and "Secrets" not in reader
    print("backup bucket: retained, encrypted, not public, TLS only; its records expire; readers: read-only, no keys")
    attributes = resources["LoadBalancer"]["Properties"]["LoadBalancerAttributes"]
    idle = next(int(it["Value"]) for it in attributes if it["Key"] == "idle_timeout.timeout_seconds")
    assert idle < KEEP_ALIVE_SECONDS, f"the load balancer keeps idle connections for {idle} s"
    print("history bucket: retained, not public, TLS only, not versioned; only processing-failed/ expires")
    print(f"load balancer: idle timeout {idle} s, below the keep-alive of {KEEP_ALIVE_SECONDS} s")


def check_stack(aws, made, has_all):
    s3 = aws("s3")
    assert all(s3.get_public_access_block(Bucket=made["HistoryBucket"])["PublicAccessBlockConfiguration"].values())
    assert s3.get_bucket_cors(Bucket=made["HistoryBucket"])["CORSRules"][0]["ExposeHeaders"] == ["ETag"]
    assert "aws:SecureTransport" in s3.get_bucket_policy(Bucket=made["HistoryBucket"])["Policy"]

    firehose = aws("firehose")
    stream = firehose.describe_delivery_stream(DeliveryStreamName=made["DeliveryStream"])["DeliveryStreamDescription"]
    to = stream["Destinations"][0]["HttpEndpointDestinationDescription"]
    assert to["EndpointConfiguration"]["Url"] == "https://races.example.invalid/firehose", to
    assert to["S3BackupMode"] == ("AllData" if has_all else "FailedDataOnly"), to
    # The emulator does not repeat S3Configuration, so the template is checked.
    assert ("BackupBucket" in made) == ("ReadService" in made) == has_all, sorted(made)

    secret = json.loads(aws("secretsmanager").get_secret_value(SecretId=made["AccessKey"])["SecretString"])
    assert set(secret) == {"api_key"} and len(secret["api_key"]) == 48, sorted(secret)

    iam = aws("iam")

    def actions(role, name):
        policy = iam.get_role_policy(RoleName=made[role], PolicyName=name)["PolicyDocument"]
        allowed = [statement["Action"] for statement in policy["Statement"]]
        return sorted(action for some in allowed for action in ([some] if isinstance(some, str) else some))

    allowed = actions("TaskRole", "store")
    assert allowed == ["s3:DeleteObject", "s3:GetObject", "s3:ListBucket", "s3:PutObject"], allowed
    if has_all:
        allowed = actions("ReadTaskRole", "read")
        assert allowed == ["s3:GetObject", "s3:ListBucket"], allowed
    assert len(aws("cloudwatch").describe_alarms()["MetricAlarms"]) >= 7
    print(f"stack: {len(made)} resources created; delivery stream, key, task role and alarms are as documented")


def deliver(aws, program):
    """Puts records to the emulator's Firehose, which posts them to the program. Then reads them from the program."""
    port, metrics = free_port(), free_port()
    here = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "serve", "--listen", f"127.0.0.1:{port}", "--store", f"file:{folder}/store",
                   "--metrics-listen", f"127.0.0.1:{metrics}"]
        with running(command, f"{here}/readyz"):
            firehose = aws("firehose")
            aws("s3").create_bucket(Bucket="failed", CreateBucketConfiguration={"LocationConstraint": REGION})
            role = "arn:aws:iam::123456789012:role/firehose"
            firehose.create_delivery_stream(
                DeliveryStreamName="try",
                HttpEndpointDestinationConfiguration={
                    "EndpointConfiguration": {"Url": f"{here}/firehose", "Name": "alleycat"},
                    "S3BackupMode": "FailedDataOnly",
                    "S3Configuration": {"RoleARN": role, "BucketARN": "arn:aws:s3:::failed"},
                },
            )
            ride = {"classId": 1, "second": 7, "cadence": 80, "resistance": 78}
            records = [json.dumps({**ride, "racerId": racer, "cadence": 70 + racer}).encode() for racer in range(1, 21)]
            records.append(b"not a record")
            answer = firehose.put_record_batch(DeliveryStreamName="try", Records=[{"Data": data} for data in records])
            assert answer["FailedPutCount"] == 0, answer
            with urllib.request.urlopen(f"{here}/classes/1/leaderboard?second=7&limit=3", timeout=5) as got:
                board = json.load(got)
            assert board["total"] == 20 and board["standings"][0]["racerId"] == 20, board
            with urllib.request.urlopen(f"{here}/class-1.gz", timeout=5) as got:
                history = json.loads(gzip.decompress(got.read()))
            assert len(history["7"]) == 20, history
            quarantined = list(pathlib.Path(folder, "store", "processing-failed").rglob("*.gz"))
            kept = [json.loads(line) for path in quarantined for line in gzip.open(path, "rt")]
            assert [base64.b64decode(line["rawData"]) for line in kept if "rawData" in line] == [b"not a record"], kept
    print("delivery: 21 records through the emulator's Firehose; 20 on the leaderboard, 1 quarantined")


def main():
    check_template()
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}

    def aws(service):
        config = Config(retries={"max_attempts": 1}, proxies={})
        return boto3.client(service, region_name=REGION, endpoint_url=endpoint, config=config, **keys)

    bin = pathlib.Path(sys.executable).parent
    only_here = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "NO_PROXY": "127.0.0.1"}
    with running([str(bin / "ministack")], f"{endpoint}/_ministack/health", **only_here):
        check_stack(aws, create_stack(aws, "alleycat"), has_all=False)
        with_all = {"LambdaImageUri": "example.invalid/alleycat-lambda:0.1.0", "Backup": "All", "ReadTasks": "2"}
        check_stack(aws, create_stack(aws, "seed", **with_all), has_all=True)
    if program := os.environ.get("ALLEYCAT"):
        with running([str(bin / "moto_server"), "-H", "127.0.0.1", "-p", str(port)], f"{endpoint}/moto-api/"):
            deliver(aws, program)


if __name__ == "__main__":
    main()
