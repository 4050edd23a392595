"""What tests share: tasks, data, models, results made by hand, sweeps in processes of their own."""
