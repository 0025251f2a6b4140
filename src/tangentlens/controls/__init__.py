"""What a finding is compared with: null models, baselines, interventions."""
