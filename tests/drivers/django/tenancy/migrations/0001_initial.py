from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [migrations.CreateModel("Thing", [
        ("id", models.AutoField(primary_key=True, serialize=False)),
        ("client", models.IntegerField()),
        ("name", models.TextField()),
        ("at", models.DateTimeField()),
    ])]
