/* main.c - placeholder until main/ is written. */
int main(void)
{
    return 1;
}
