"""Multi-agent particle environments (Lowe et al. 2017) as one batched world, in the dialects that papers used."""

from reprise.environments.mpe.environment import ParticleEnvironment

__all__ = ["ParticleEnvironment"]
