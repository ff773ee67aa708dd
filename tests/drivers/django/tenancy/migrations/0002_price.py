from django.db import migrations, models


def fill(apps, schema_editor):
    things = apps.get_model("tenancy", "Thing").objects.using(schema_editor.connection.alias)
    things.create(client=-1, name="of the migration", at="2024-07-01T12:00:00Z")


class Migration(migrations.Migration):
    dependencies = [("tenancy", "0001_initial")]
    operations = [
        migrations.AddField("Thing", "price", models.DecimalField(max_digits=10, decimal_places=2, default="1.25")),
        migrations.AlterField("Thing", "name", models.TextField(unique=True)),
        migrations.RunPython(fill),
    ]
