"""The cloud's configuration: file, then environment, then flags; unknown keys are errors.

    driftline.toml                       [rounds.trigger]  round_samples = 128
    DRIFTLINE_CLOUD_ROUNDS__SEED=7       sections are joined by two underscores
    --set rounds.seed=7                  flags win

Sections are the very `Section`s that the parts read: a default, its bounds and its meaning are
written down once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from driftline_cloud.blobs.settings import StorageSettings
from driftline_cloud.corrections.settings import EscalationSettings
from driftline_cloud.distill.gate.rule import GateLimits
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.grouping.settings import GroupingSettings
from driftline_cloud.intake.admission import AdmissionLimits, Quota
from driftline_cloud.limits import PoolSettings, RateSettings
from driftline_cloud.page.settings import PageSettings
from driftline_cloud.release.choose import ChooseSettings
from driftline_cloud.rollout.plan import RolloutSettings
from driftline_cloud.rounds.retention import RetentionSettings
from driftline_cloud.rounds.settings import RoundSettings, WorkSettings
from driftline_cloud.screening.settings import ScreenSettings
from driftline_cloud.trust.settings import TrustSettings
from driftline_shared.host.loopback import is_loopback
from driftline_shared.program.address import check_address
from driftline_shared.program.config import (
    NESTED,
    LogConfig,
    MetricsConfig,
    ProgramSettings,
    load_settings,
)
from driftline_shared.program.policy import Policy
from driftline_shared.program.proxies import host_of
from driftline_shared.program.section import Section, setting
from driftline_shared.spans.settings import SpanSettings
from driftline_shared.tokens import SamplingPolicy
from driftline_shared.trace.settings import TraceSettings

ENV_PREFIX = "DRIFTLINE_CLOUD_"


class WorkersConfig(Section):
    """Where labelling and distilling run."""

    kind: Literal["local", "ray"] = setting("local", "`local` or `ray`")
    ray_address: str = setting("", "of a cluster; empty starts Ray here, on loopback")
    ray_token_file: Path | None = setting(
        None, "of a cluster's token; not set: where Ray looks for one"
    )
    ray_tls: Path | None = setting(
        None, "folder with ca.crt, tls.crt and tls.key of a cluster; not set: no TLS"
    )
    num_labellers: int = setting(
        0, "Ray actors that label at the same time; 0: as many as there is room for", ge=0, le=4096
    )
    autoscale_to: int = setting(
        0,
        "labellers that a cluster's autoscaler is asked for, as far as batches wait; 0: it is told "
        "nothing",
        ge=0,
        le=4096,
    )
    keep_warm_s: float = setting(
        600.0, "without work after which Ray's actors give back what they hold", ge=0, le=1e6
    )
    device: str = setting("cpu", "`cpu`, `cuda`")


class CloudConfig(ProgramSettings):
    """Everything `driftline cloud serve` reads. Times in seconds."""

    shown_by: ClassVar[str] = "driftline cloud serve --print-config"

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter=NESTED, extra="forbid", frozen=True
    )

    state: Path = setting(Path("driftline-cloud"), "folder for everything the cloud keeps")
    database_url: str = setting("", "an SQL URL; empty: SQLite in the state folder")
    listen: str = setting(
        "127.0.0.1:7443",
        "host:port for devices; port 0: any free one, written to `<state>/port`",
    )
    pair: str = setting("tiny", "a shipped pair, a pair folder, or a pair's TOML file")
    pair_key: str = setting(
        "",
        "the key whose signature each pair needs ([how](models.md#sign-a-pair)): its id, or a file "
        "with its public half; empty: none is asked for",
    )
    storage: StorageSettings = StorageSettings()
    workers: WorkersConfig = WorkersConfig()
    trust: TrustSettings = TrustSettings()
    metrics: MetricsConfig = MetricsConfig()
    page: PageSettings = PageSettings()
    log: LogConfig = LogConfig()
    trace: TraceSettings = TraceSettings()
    spans: SpanSettings = SpanSettings()
    sampling: Policy = SamplingPolicy()
    admission: AdmissionLimits = AdmissionLimits()
    quota: Quota = Quota()
    rates: RateSettings = RateSettings()
    pools: PoolSettings = PoolSettings()
    work: WorkSettings = WorkSettings()
    retention: RetentionSettings = RetentionSettings()
    rounds: RoundSettings = RoundSettings()
    rollout: RolloutSettings = RolloutSettings()
    grouping: GroupingSettings = GroupingSettings()
    screen: ScreenSettings = ScreenSettings()
    escalation: EscalationSettings = EscalationSettings()
    gate: GateLimits = GateLimits()
    distil: DistilSettings = DistilSettings()
    dwc: ChooseSettings = ChooseSettings()
    update_expires_s: int = setting(
        0, "after its round an update may no longer be applied; 0: never", ge=0
    )
    reflection: bool = setting(
        False, "tell whoever asks which gRPC methods there are, for tools such as grpcurl"
    )
    drain_s: float = setting(20.0, "for running work when the cloud stops", ge=0)

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        return check_address(value, least_port=0)

    @model_validator(mode="after")
    def _insecure_stays_here(self) -> Self:
        if self.trust.insecure and not is_loopback(host_of(self.listen)):
            raise ValueError(
                f"trust.insecure is for loopback alone, and {self.listen} is reached from elsewhere"
            )
        return self

    @property
    def database(self) -> str:
        """The SQL URL in force."""
        return self.database_url or f"sqlite:///{self.state.resolve() / 'cloud.sqlite'}"


def load_config(
    file: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> CloudConfig:
    """The configuration in force, as `load_settings` reads it."""
    return load_settings(CloudConfig, file, overrides, environment)
